//! Conflicts that a person settles: what they see, what they may answer, what happens if they don't.
//!
//! **Promise.** A ticket holds all that a decision needs: the base, each side with who wrote it when, a suggestion, a deadline, and the default that stands
//! until then and for good after. What comes out is a [`Write`] that saw all sides, for the owner of the place to make.
//!
//! **Invariants.** 1. A place has one open ticket: a conflict with one sibling more replaces the one before. 2. The queue holds at most as many as it was
//! told; one too many is settled by its default at once, and said so. 3. A ticket's deadline counts from when it was put, and is written
//! down with it: a cut that lasts longer takes nobody's time to answer. 4. What is written was made by someone who saw all that lies there.

use crate::conflict::{Base, Class, ConflictId, Place, Sibling, Writer};
use crate::reading::Fault;
use crate::schema::Schema;
use crate::value::Value;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use dwcp_crdt::Dot;
use dwcp_crdt::edit::{Change, Edit};

/// A write that settles something: to be made by whoever owns the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Where.
    pub place: Place,
    /// What; nothing deletes.
    pub value: Option<Value>,
    /// What its maker saw there.
    pub supersedes: Vec<Dot>,
}

impl Write {
    /// The edit that makes it in a space ([`Place::address`]), where these lie now. A space's edit supersedes all that is seen there, so
    /// it is made only if that is what was meant to be superseded.
    ///
    /// # Errors
    /// If something lies there that its maker has not seen.
    pub fn edit(&self, live: impl IntoIterator<Item = Dot>) -> Result<Edit, Unseen> {
        if let Some(unseen) = self.unseen(live) {
            return Err(unseen);
        }
        let change = match &self.value {
            Some(v) => Change::Write(v.to_bytes()),
            None => Change::Delete,
        };
        Ok(Edit::new(self.place.address(), change))
    }
    /// What lies there that its maker has not seen.
    #[must_use]
    pub fn unseen(&self, live: impl IntoIterator<Item = Dot>) -> Option<Unseen> {
        live.into_iter().find(|d| !self.supersedes.contains(d)).map(Unseen)
    }
}

/// A write that came meanwhile: nothing was written over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} was written there meanwhile, and was not seen: look at the question again")]
pub struct Unseen(pub Dot);

/// A question to a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The conflict's name.
    pub id: ConflictId,
    /// Where.
    pub place: Place,
    /// Of which class.
    pub class: Class,
    /// What was there before.
    pub base: Base<Value>,
    /// What was written, and by whom.
    pub sides: Vec<Sibling>,
    /// What might be right.
    pub suggestion: Option<Value>,
    /// What stands meanwhile, and for good if nobody answers.
    pub default: Option<Value>,
    /// Until when, in milliseconds since 1970.
    pub deadline: u64,
}

impl Ticket {
    fn settled(&self, value: Option<Value>) -> Write {
        let supersedes = self.sides.iter().map(|s| s.dot).collect();
        Write { place: self.place.clone(), value, supersedes }
    }
}

/// A person's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// What this write said.
    Side(Dot),
    /// What was there before.
    Base,
    /// What was suggested.
    Suggestion,
    /// What stands.
    Default,
    /// Something else; nothing deletes.
    Value(Option<Value>),
}

/// Why an answer was not taken. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No ticket of that name is open at that place.
    #[error(
        "no open question {0}: it was answered, its deadline passed, or another write made it another; list the open ones"
    )]
    Unknown(ConflictId),
    /// What was there before is not known.
    #[error("what was there before is not known: choose a side, or give a value")]
    Base,
    /// The side is none of the ticket's.
    #[error("{0} is none of the sides: name one of those that the question shows")]
    Side(Dot),
    /// The value does not fit the field.
    #[error(transparent)]
    Value(#[from] Fault),
}

/// A ticket that is closed: the write to make, and who decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// What was asked.
    pub ticket: Ticket,
    /// What is to be written.
    pub write: Write,
    /// Who decided; nobody if the default did.
    pub by: Option<Writer>,
}

/// What became of a ticket that was put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is open.
    Open,
    /// It was open already.
    Known,
    /// There is no room: its default was taken at once.
    Full(Box<Closed>),
}

/// Open tickets.
#[derive(Clone, Debug)]
pub struct Queue {
    open: BTreeMap<Place, Ticket>,
    most: usize,
}

impl Queue {
    /// An empty queue of at most so many.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { open: BTreeMap::new(), most }
    }
    /// Opens a ticket.
    pub fn put(&mut self, ticket: Ticket) -> Put {
        let known = self.open.get(&ticket.place).map(|open| open.id == ticket.id);
        if known == Some(true) {
            return Put::Known;
        }
        if known.is_none() && self.open.len() >= self.most {
            let write = ticket.settled(ticket.default.clone());
            return Put::Full(Box::new(Closed { ticket, write, by: None }));
        }
        self.open.insert(ticket.place.clone(), ticket);
        Put::Open
    }
    /// A person decides.
    ///
    /// # Errors
    /// If there is no such ticket, side, or the value does not fit the schema.
    pub fn answer(
        &mut self,
        schema: &Schema,
        id: ConflictId,
        place: &Place,
        choice: &Choice,
        by: &Writer,
    ) -> Result<Closed, NoAnswer> {
        let ticket = self.open.get(place).filter(|t| t.id == id).ok_or(NoAnswer::Unknown(id))?;
        let value = match choice {
            Choice::Side(dot) => {
                let side = ticket.sides.iter().find(|s| s.dot == *dot).ok_or(NoAnswer::Side(*dot))?;
                side.value.clone()
            }
            Choice::Base if !ticket.base.is_known() => return Err(NoAnswer::Base),
            Choice::Base => ticket.base.clone().value(),
            Choice::Suggestion => ticket.suggestion.clone(),
            Choice::Default => ticket.default.clone(),
            Choice::Value(None) => None,
            Choice::Value(Some(v)) => Some(schema.admit_at(&place.pointer, v)?),
        };
        let write = ticket.settled(value);
        let ticket = self.open.remove(place).ok_or(NoAnswer::Unknown(id))?;
        Ok(Closed { ticket, write, by: Some(by.clone()) })
    }
    /// Closes what was not answered in time, by its default.
    pub fn due(&mut self, now_millis: u64) -> Vec<Closed> {
        let late: Vec<Place> =
            self.open.values().filter(|t| t.deadline <= now_millis).map(|t| t.place.clone()).collect();
        let close = |place| {
            let ticket = self.open.remove(&place)?;
            let write = ticket.settled(ticket.default.clone());
            Some(Closed { ticket, write, by: None })
        };
        late.into_iter().filter_map(close).collect()
    }
    /// The conflict at a place was settled otherwise: a write came that saw all sides.
    pub fn withdraw(&mut self, place: &Place) -> Option<Ticket> {
        self.open.remove(place)
    }
    /// All that is open, by place.
    pub fn open(&self) -> impl Iterator<Item = &Ticket> {
        self.open.values()
    }
    /// The next deadline.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.open.values().map(|t| t.deadline).min()
    }
}
