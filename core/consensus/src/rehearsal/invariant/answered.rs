//! **One answer**: every question of a lifetime is answered once, where it was asked, by its own value.
//!
//! Invariant 4 of [`crate::step`]; client semantics of Raft (dissertation, §6.3).

use super::super::fact::{Fact, Value};
use super::Invariant;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::NodeId;

/// Every question answered once.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// By question less 1: where it is open, and what (a read has nothing).
    open: Vec<Option<(NodeId, Option<u32>)>>,
}

impl Answered {
    fn ask(&mut self, token: u64, question: (NodeId, Option<u32>)) {
        let at = token as usize - 1;
        if self.open.len() <= at {
            self.open.resize(at + 1, None);
        }
        self.open[at] = Some(question);
    }

    fn close(&mut self, node: NodeId, token: u64) -> Result<Option<u32>, String> {
        match self.open.get_mut(token.wrapping_sub(1) as usize).and_then(Option::take) {
            Some((asked, number)) if asked == node => Ok(number),
            Some((asked, _)) => Err(format!("{node} answered question {token}, which {asked} was asked")),
            None => Err(format!("{node} answered question {token}, which is not open there")),
        }
    }
}

impl Invariant for Answered {
    const NAME: &'static str = "one answer";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Proposed { node, token, number } => self.ask(token, (node, Some(number))),
            Fact::Asked { node, token } => self.ask(token, (node, None)),
            // Of a seal told per class, the first counts.
            Fact::Decided { node, class, value, token: Some(token), .. }
                if class <= 1 || matches!(value, Value::Command(_)) =>
            {
                let number = self.close(node, token)?;
                if number.map(Value::Command) != Some(value) && !matches!(value, Value::Seal(_)) {
                    return Err(format!("{node} answered question {token} ({number:?}) with {value:?}"));
                }
            }
            Fact::Readable { node, token, .. } => {
                let number = self.close(node, token)?;
                if number.is_some() {
                    return Err(format!("{node} answered proposal {token} as if it were a read"));
                }
            }
            Fact::Refused { node, token, .. } => {
                self.close(node, token)?;
            }
            Fact::Crashed { node } => {
                for question in &mut self.open {
                    if question.is_some_and(|(asked, _)| asked == node) {
                        *question = None;
                    }
                }
            }
            Fact::Ended { node, open: Some(token), .. } => {
                return Err(format!("{node} never answered question {token}"));
            }
            _ => {}
        }
        Ok(())
    }
}
