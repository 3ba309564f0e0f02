//! Installing a checkpoint from a peer: a new file beside the old, checked, then swapped in.
//!
//! Nothing of the old state is touched before the whole of the new one has been read back from
//! the disk and checked row by row. A crash at any instant leaves the old file or the new one.

use crate::current;
use crate::digest::{Digest, digest};
use crate::error::StoreError;
use crate::piece::Assembler;
use crate::record::REV_BYTES;
use crate::store::{Data, StoreOptions};
use crate::table::{TableFile, View};
use dwcp_consensus::{Checkpointed, Position};
use dwcp_env::Storage;
use std::sync::Arc;

/// A checkpoint being received.
#[derive(Debug)]
pub(crate) struct Installer {
    options: StoreOptions,
    storage: Arc<dyn Storage>,
    incoming: Checkpointed,
    pieces: Assembler,
    /// What its digest must be, if that is known.
    expected: Option<Digest>,
    /// The new file; made with the first piece.
    file: Option<Arc<TableFile>>,
    /// A piece was refused, or the disk failed: nothing more is taken.
    failed: Option<StoreError>,
}

/// The new state, swapped in on disk.
pub(crate) struct Installed {
    pub(crate) data: Data,
    pub(crate) view: View,
    pub(crate) digest: Option<Digest>,
}

impl Installer {
    /// Nothing received yet.
    pub(crate) fn new(options: StoreOptions, storage: Arc<dyn Storage>, incoming: Checkpointed) -> Self {
        let pieces = Assembler::new(&incoming);
        Self { options, storage, incoming, pieces, expected: None, file: None, failed: None }
    }
    /// It is taken only with this digest.
    pub(crate) const fn expect(&mut self, digest: Digest) {
        self.expected = Some(digest);
    }
    /// Takes one piece, in order.
    ///
    /// # Errors
    /// `Refused` with the check it failed; the disk's. The transfer is over.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.once(|this| {
            let rows = this.pieces.take(piece).map_err(StoreError::Refused)?;
            let file = this.file()?;
            // Rows are checked when all are there. Durable with the end.
            let mut misshapen = false;
            file.write(false, |out| {
                for row in &rows {
                    if row.is_record {
                        let Ok(rev) = <&[u8; REV_BYTES]>::try_from(&row.key[..]) else {
                            misshapen = true;
                            break;
                        };
                        out.records.insert(rev, &row.value[..])?;
                    } else {
                        out.state.insert(&row.key[..], &row.value[..])?;
                    }
                }
                Ok(())
            })?;
            if misshapen {
                Err(StoreError::Refused("a record's key of a wrong length".into()))
            } else {
                Ok(())
            }
        })
    }
    /// Checks what was received and makes it the store's, unless that would go back behind `floor`.
    ///
    /// # Errors
    /// `Refused`; the disk's. The old state stands.
    pub(crate) fn finish(&mut self, floor: Option<Position>) -> Result<Installed, StoreError> {
        self.once(|this| {
            if floor.is_some_and(|f| f.index > this.incoming.at.index) {
                return Err(StoreError::Refused(format!("it is older than what is applied here, {floor:?}")));
            }
            if !this.pieces.ended() {
                return Err(StoreError::Refused("its last piece has not come".into()));
            }
            let file = this.file()?;
            file.write(true, |_| Ok(()))?;
            // From here on what counts is what is on the disk.
            let refused = |e: StoreError| match e {
                StoreError::Corrupt { why, .. } => StoreError::Refused(why),
                other => other,
            };
            let view = file.view().map_err(refused)?;
            let data = Data::load(&view, &this.options).map_err(refused)?;
            let announced = (Some(this.incoming.at), &this.incoming.engine_record);
            if (view.meta.at, &view.meta.engine_record) != announced {
                return Err(StoreError::Refused("it is another checkpoint than was announced".into()));
            }
            if let Some(expected) = this.expected {
                let found = digest(&view).map_err(refused)?;
                if found != expected {
                    return Err(StoreError::Refused(
                        "its digest is not the one that its group vouches for".into(),
                    ));
                }
            }
            // A replacement that fails may have been done all the same: the file stays. If `CURRENT` does not name
            // it after all, the next boot removes it.
            this.file = None;
            current::write(&*this.storage, this.options.group, file.name())?;
            Ok(Installed { data, view, digest: this.expected })
        })
    }
    fn file(&mut self) -> Result<Arc<TableFile>, StoreError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let name = current::next_name(&*self.storage, self.options.group)?;
        let file = Arc::new(TableFile::create(&*self.storage, name, self.options.cache)?);
        self.file = Some(file.clone());
        Ok(file)
    }
    /// Runs one step unless an earlier one failed; drops the new file if it fails.
    fn once<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let result = step(self);
        if let Err(e) = &result {
            self.failed = Some(e.clone());
            self.discard();
        }
        result
    }
    /// Removes the half-received file. One that stays for a failing disk is removed at boot.
    pub(crate) fn discard(&mut self) {
        if let Some(file) = self.file.take() {
            file.retire();
            let name = file.name().clone();
            drop(file);
            let _removed_at_boot_if_not_now = self.storage.remove(&name);
        }
    }
}
