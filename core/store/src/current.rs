//! Which file is the store's: a small file that names it, replaced atomically.
//!
//! ```text
//! g0-CURRENT        dwcp-store 1 g0-state-3.redb 1a2b3c4d\n
//! g0-state-3.redb
//! ```
//!
//! A checkpoint from a peer is built in a new file beside the old one; replacing `CURRENT` is the
//! one instant at which the store changes. Files that `CURRENT` does not name are leftovers and
//! are removed.

use crate::checkpoint::FORMAT;
use crate::error::StoreError;
use crate::store::StoreOptions;
use crate::table::TableFile;
use dwcp_env::disk::{FileName, read_all, replace};
use dwcp_env::{DiskError, GroupId, Storage};
use std::sync::Arc;

fn current_name(group: GroupId) -> FileName {
    FileName::new(&format!("{group}-CURRENT")).expect("letters, digits and a dash")
}

fn state_name(group: GroupId, n: u64) -> FileName {
    FileName::new(&format!("{group}-state-{n}.redb")).expect("letters, digits, dashes and a dot")
}

/// The number in the name of a state file of this group.
fn state_number(group: GroupId, name: &FileName) -> Option<u64> {
    let n = name.as_str().strip_prefix(&format!("{group}-state-"))?.strip_suffix(".redb")?;
    n.parse().ok().filter(|n| state_name(group, *n) == *name)
}

/// The line that names `file`.
fn line(file: &FileName) -> String {
    let text = format!("dwcp-store {FORMAT} {}", file.as_str());
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text} {crc:08x}\n")
}

/// The store's file; `None` if there never was one.
///
/// # Errors
/// The disk's; `Corrupt`; `NewerFormat`.
pub(crate) fn read(storage: &dyn Storage, group: GroupId) -> Result<Option<FileName>, StoreError> {
    let name = current_name(group);
    let bytes = match read_all(storage, &name) {
        Ok(bytes) => bytes,
        Err(DiskError::NotFound(_)) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let corrupt = |why: &str| StoreError::corrupt(name.as_str(), why);
    let text = str::from_utf8(&bytes).map_err(|_| corrupt("it is not text"))?;
    let (head, crc) =
        text.trim_end().rsplit_once(' ').ok_or_else(|| corrupt("it is not one line of four words"))?;
    if crc != format!("{:08x}", crc32fast::hash(head.as_bytes())) {
        return Err(corrupt("it fails its checksum"));
    }
    let mut words = head.split(' ');
    if words.next() != Some("dwcp-store") {
        return Err(corrupt("it does not begin with dwcp-store"));
    }
    let format = words.next().and_then(|f| f.parse().ok()).ok_or_else(|| corrupt("it states no format"))?;
    if format > FORMAT {
        return Err(StoreError::NewerFormat { found: format, known: FORMAT });
    }
    let file = words.next().and_then(FileName::new).filter(|f| state_number(group, f).is_some());
    file.map(Some).ok_or_else(|| corrupt("it does not name a state file"))
}

/// Makes `file` the store's, atomically and durably.
///
/// # Errors
/// The disk's.
pub(crate) fn write(storage: &dyn Storage, group: GroupId, file: &FileName) -> Result<(), StoreError> {
    Ok(replace(storage, &current_name(group), line(file).as_bytes())?)
}

/// All state files of this group.
fn state_files(storage: &dyn Storage, group: GroupId) -> Result<Vec<(u64, FileName)>, StoreError> {
    let names = storage.list()?;
    Ok(names.into_iter().filter_map(|name| Some((state_number(group, &name)?, name))).collect())
}

/// A name no state file of this group has.
///
/// # Errors
/// The disk's.
pub(crate) fn next_name(storage: &dyn Storage, group: GroupId) -> Result<FileName, StoreError> {
    let highest = state_files(storage, group)?.into_iter().map(|(n, _)| n).max();
    Ok(state_name(group, highest.map_or(1, |n| n.saturating_add(1))))
}

/// Removes the state files that are not the store's.
///
/// # Errors
/// The disk's.
pub(crate) fn remove_others(
    storage: &dyn Storage,
    group: GroupId,
    keep: &FileName,
) -> Result<(), StoreError> {
    for (_, name) in state_files(storage, group)? {
        if name != *keep {
            storage.remove(&name)?;
        }
    }
    Ok(())
}

/// Without `CURRENT` there may only be the leftover of a first start that was cut off. A state
/// file in which something was applied means that `CURRENT` was lost.
///
/// # Errors
/// The disk's; `Corrupt`.
pub(crate) fn refuse_orphans(storage: &dyn Storage, options: &StoreOptions) -> Result<(), StoreError> {
    for (_, name) in state_files(storage, options.group)? {
        let opened = TableFile::open(storage, name.clone(), options.cache);
        let used = match opened.and_then(|file| Arc::new(file).view()) {
            Ok(view) => view.meta.at.is_some() || view.meta.format > FORMAT,
            Err(StoreError::Corrupt { .. }) => false,
            Err(e) => return Err(e),
        };
        if used {
            let why = format!("it is missing, and {} holds data", name.as_str());
            return Err(StoreError::corrupt(current_name(options.group).as_str(), why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryDisk;

    #[test]
    fn only_the_whole_line_is_believed() {
        let disk = MemoryDisk::new();
        let (group, file) = (GroupId(3), state_name(GroupId(3), 12));
        assert_eq!(read(&*disk, group), Ok(None));
        write(&*disk, group, &file).unwrap();
        assert_eq!(read(&*disk, group), Ok(Some(file.clone())));
        let good = line(&file).into_bytes();
        for i in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[i] ^= 1;
            replace(&*disk, &current_name(group), &bad).unwrap();
            assert!(matches!(read(&*disk, group), Err(StoreError::Corrupt { .. })), "byte {i}");
            replace(&*disk, &current_name(group), &good[..i]).unwrap();
            assert!(matches!(read(&*disk, group), Err(StoreError::Corrupt { .. })), "cut at {i}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let disk = MemoryDisk::new();
        let text = "dwcp-store 9 g0-state-1.redb";
        let line = format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()));
        replace(&*disk, &current_name(GroupId(0)), line.as_bytes()).unwrap();
        assert_eq!(read(&*disk, GroupId(0)), Err(StoreError::NewerFormat { found: 9, known: FORMAT }));
    }

    #[test]
    fn numbers_rise_and_other_groups_do_not_count() {
        let disk = MemoryDisk::new();
        for name in ["g1-state-7.redb", "g11-state-9.redb", "g1-state-08.redb", "g1-state-x.redb"] {
            let _file = disk.create(&FileName::new(name).unwrap()).unwrap();
        }
        assert_eq!(next_name(&*disk, GroupId(1)).unwrap().as_str(), "g1-state-8.redb");
    }
}
