//! The peers.

use crate::ours::Peer;
use crate::trace::Patch;
use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ReadDoc};
use diamond_types::list::ListCRDT;
use diamond_types::list::encoding::ENCODE_FULL;
use yrs::{GetString, ReadTxn, Text as _, Transact, Update, updates::decoder::Decode};

impl Peer for ListCRDT {
    const NAME: &'static str = "diamond-types";
    fn new() -> Self {
        let mut list = Self::new();
        list.get_or_create_agent_id("a");
        list
    }
    fn edit(&mut self, patch: &Patch) {
        if patch.gone > 0 {
            self.delete_without_content(0, patch.at..patch.at + patch.gone);
        }
        if !patch.new.is_empty() {
            self.insert(0, patch.at, &patch.new);
        }
    }
    fn text(&self) -> Option<String> {
        Some(self.branch.content().to_string())
    }
    fn save(&mut self) -> Vec<u8> {
        self.oplog.encode(ENCODE_FULL)
    }
    fn load(bytes: &[u8]) -> Self {
        Self::load_from(bytes).expect("own bytes")
    }
}

impl Peer for cola::Replica {
    const NAME: &'static str = "cola (keeps no text)";
    fn new() -> Self {
        Self::new(1, 0)
    }
    fn edit(&mut self, patch: &Patch) {
        if patch.gone > 0 {
            std::hint::black_box(self.deleted(patch.at..patch.at + patch.gone));
        }
        if !patch.new.is_empty() {
            std::hint::black_box(self.inserted(patch.at, patch.new.chars().count()));
        }
    }
    fn text(&self) -> Option<String> {
        None
    }
    fn save(&mut self) -> Vec<u8> {
        // Its encoded form is opaque and without the text; it has no bytes to compare.
        Vec::new()
    }
    fn load(_: &[u8]) -> Self {
        Self::new(1, 0)
    }
}

/// loro, history kept.
pub(crate) struct Loro {
    doc: loro::LoroDoc,
    text: loro::LoroText,
}

impl Peer for Loro {
    const NAME: &'static str = "loro";
    fn new() -> Self {
        let doc = loro::LoroDoc::new();
        let text = doc.get_text("t");
        Self { doc, text }
    }
    fn edit(&mut self, patch: &Patch) {
        if patch.gone > 0 {
            self.text.delete(patch.at, patch.gone).expect("in range");
        }
        if !patch.new.is_empty() {
            self.text.insert(patch.at, &patch.new).expect("in range");
        }
    }
    fn finish(&mut self) {
        self.doc.commit();
    }
    fn text(&self) -> Option<String> {
        Some(self.text.to_string())
    }
    fn save(&mut self) -> Vec<u8> {
        self.doc.export(loro::ExportMode::Snapshot).expect("a document")
    }
    fn load(bytes: &[u8]) -> Self {
        let doc = loro::LoroDoc::new();
        doc.import(bytes).expect("own bytes");
        let text = doc.get_text("t");
        Self { doc, text }
    }
}

/// yrs, a transaction for each edit.
pub(crate) struct Yrs {
    doc: yrs::Doc,
    text: yrs::TextRef,
}

impl Peer for Yrs {
    const NAME: &'static str = "yrs";
    const SLOW: bool = true;
    fn new() -> Self {
        // Positions of the traces count characters; in ASCII that is bytes, yrs' default.
        let doc = yrs::Doc::new();
        let text = doc.get_or_insert_text("t");
        Self { doc, text }
    }
    fn edit(&mut self, patch: &Patch) {
        let mut txn = self.doc.transact_mut();
        if patch.gone > 0 {
            self.text.remove_range(&mut txn, patch.at as u32, patch.gone as u32);
        }
        if !patch.new.is_empty() {
            self.text.insert(&mut txn, patch.at as u32, &patch.new);
        }
    }
    fn text(&self) -> Option<String> {
        Some(self.text.get_string(&self.doc.transact()))
    }
    fn save(&mut self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v2(&yrs::StateVector::default())
    }
    fn load(bytes: &[u8]) -> Self {
        let new = Self::new();
        let update = Update::decode_v2(bytes).expect("own bytes");
        new.doc.transact_mut().apply_update(update).expect("own bytes");
        new
    }
}

/// automerge, one commit at the end: its best case.
pub(crate) struct Automerge {
    doc: AutoCommit,
    text: automerge::ObjId,
}

impl Peer for Automerge {
    const NAME: &'static str = "automerge, one commit";
    const SLOW: bool = true;
    fn new() -> Self {
        let mut doc = AutoCommit::new();
        let text = doc.put_object(automerge::ROOT, "t", ObjType::Text).expect("an empty document");
        Self { doc, text }
    }
    fn edit(&mut self, patch: &Patch) {
        self.doc.splice_text(&self.text, patch.at, patch.gone as isize, &patch.new).expect("in range");
    }
    fn finish(&mut self) {
        self.doc.commit();
    }
    fn text(&self) -> Option<String> {
        self.doc.text(&self.text).ok()
    }
    fn save(&mut self) -> Vec<u8> {
        self.doc.save()
    }
    fn load(bytes: &[u8]) -> Self {
        let doc = AutoCommit::load(bytes).expect("own bytes");
        let text = doc.get(automerge::ROOT, "t").ok().flatten().map(|(_, id)| id).expect("own bytes");
        Self { doc, text }
    }
}
