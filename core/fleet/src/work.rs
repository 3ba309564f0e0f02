//! One request on its way: read, plan, commit, and again, until it is answered.
//!
//! **Model.** A value with no I/O: [`Work::next`] says what is to be done, whoever drives it does that and says how it
//! ended. The door of a node, a host's agent, a controller and the rehearsal all drive the same value.
//!
//! **Invariants.** (1) After a conflict, a lost answer or a finished step everything is read anew. (2) A lost answer is no
//! problem: every command may be planned again over its own effects. (3) It ends: conflicts, lost answers and steps are
//! each bounded, and then it is refused as [`Code::Contention`]. (4) What a transaction rests on in another store was read
//! after everything that it checks in its own: since the latter is unchanged at commit, there was a moment at which all
//! of it was true. Read the other way round, an old word of the other store could meet a new record of one's own.

use crate::command::{Answer, Request};
use crate::key::{Key, Scope};
use crate::plan::{Step, Stop, Then, plan};
use crate::planted::{self, Bug};
use crate::refusal::{Code, Refusal};
use crate::transaction::Transaction;
use crate::view::{Fetch, View};
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::Now;

/// How often a step is tried that others get in the way of.
pub const TRIES_MAX: u32 = 24;
/// How many rounds of reading a plan may take, and how many steps a command.
const ROUNDS_MAX: u32 = 64;

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Read these, linearizably, all from one store; then [`Work::read`] for each, and on.
    Read(Scope, Vec<Fetch>),
    /// Commit this; then [`Work::committed`] or [`Work::lost`], and on.
    Commit(Transaction),
    /// It is over.
    Done(Result<Answer, Refusal>),
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Work {
    request: Request,
    view: View,
    then: Option<Then>,
    over: Option<Result<Answer, Refusal>>,
    tries: u32,
    rounds: u32,
}

impl Work {
    /// A request that nothing was done for yet.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self { request, view: View::new(), then: None, over: None, tries: 0, rounds: 0 }
    }
    /// What is asked.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }
    /// What is to be done next.
    pub fn next(&mut self, now: Now) -> Next {
        if let Some(over) = &self.over {
            return Next::Done(over.clone());
        }
        self.rounds += 1;
        if self.tries > TRIES_MAX || self.rounds > ROUNDS_MAX {
            let remedy = "ask again in a moment";
            let why = Refusal::new(
                Code::Contention,
                "the stores",
                "others changed the same things again and again",
                remedy,
            );
            return self.end(Err(why));
        }
        match plan(&self.view, &self.request, now) {
            Ok(Step::Done(answer)) => self.end(Ok(answer)),
            Ok(Step::Commit(transaction, then)) => {
                let early = if planted::is(Bug::OthersReadFirst) {
                    Vec::new()
                } else {
                    self.view.too_early(&transaction)
                };
                if !early.is_empty() {
                    return Self::fetch(early);
                }
                self.then = Some(then);
                Next::Commit(transaction)
            }
            Err(Stop::Refused(refusal)) => self.end(Err(refusal)),
            Err(Stop::Want(wanted)) => Self::fetch(wanted.0),
        }
    }
    /// All that is wanted of the first store that something is wanted of.
    fn fetch(wanted: Vec<Fetch>) -> Next {
        let scope = wanted.iter().find_map(Fetch::scope).unwrap_or(Scope::Global);
        let fetches = wanted.into_iter().filter(|f| f.scope().as_ref() == Some(&scope)).collect();
        Next::Read(scope, fetches)
    }
    fn end(&mut self, how: Result<Answer, Refusal>) -> Next {
        self.over = Some(how.clone());
        Next::Done(how)
    }
    /// What one of the fetches found, and the store's revision then.
    pub fn read(&mut self, fetch: &Fetch, revision: i64, found: impl IntoIterator<Item = (Key, i64, Bytes)>) {
        self.view.take(fetch, revision, found);
    }
    /// How the transaction ended: whether its checks held.
    pub fn committed(&mut self, held: bool) {
        self.view = View::new();
        if !held {
            self.tries += 1;
            return;
        }
        match self.then.take() {
            Some(Then::Answer(answer)) => self.over = Some(Ok(answer)),
            Some(Then::Refuse(refusal)) => self.over = Some(Err(refusal)),
            Some(Then::Again) | None => {}
        }
    }
    /// Nobody knows how a read or a transaction ended.
    pub fn lost(&mut self) {
        self.view = View::new();
        self.tries += 1;
    }
}
