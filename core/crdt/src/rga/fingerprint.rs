//! Whether two replicas hold the same, in sixteen bytes.

use super::Rga;
use super::content::Content;
use crate::code::Writer;

impl<C: Content> Rga<C> {
    /// What the sequence is, as canonical bytes that purging does not change: for each stretch of live elements
    /// that hang on each other in a row its first name, origin and length, in the order of the document; then the
    /// elements. Hash it; a space hashes it under the key's dot.
    pub fn essence(&self, out: &mut Writer) {
        let mut open: Option<(u64, u64)> = None;
        for (run, _) in self.tree.runs() {
            if run.is_dead() {
                continue;
            }
            let continues = run.origin == run.first.wrapping_sub(1) && !run.is_left();
            match &mut open {
                Some((_, end)) if *end == run.first && continues => *end = run.end(),
                _ => {
                    if let Some((first, end)) = open {
                        out.varint(end - first);
                    }
                    out.fixed(run.first);
                    out.fixed(run.origin);
                    out.byte(u8::from(run.is_left()));
                    open = Some((run.first, run.end()));
                }
            }
        }
        if let Some((first, end)) = open {
            out.varint(end - first);
        }
        for piece in self.pieces() {
            C::write(piece, out);
        }
    }
}
