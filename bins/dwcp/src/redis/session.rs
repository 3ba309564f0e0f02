//! One client: who it is, which keyspace it means, its transaction, and the order of its replies.
//!
//! **Model.** What a client has sent in one go is gone through word for word. Commands for the replica are gathered as
//! steps of one question; what the session answers itself takes its place between them. Then the node is asked once,
//! and all replies are written in order. Only what changes how the rest is understood (`SELECT`, `HELLO`, …), or asks
//! something else of the node, has the steps before it asked first.
//!
//! **Invariants.**
//! 1. Each request has exactly one reply, in its order; `SUBSCRIBE` and the like one for each channel.
//! 2. A transaction reaches the replica whole or not at all: a command that can't be queued spoils it (`EXECABORT`).
//! 3. Nothing is asked for a client that has not said who it is, where a password is set.

use super::backend::{Answered, Backend, Keyspace, Refused};
use super::door::Shared;
use super::listening::Listening;
use super::meter::UNKNOWN;
use super::reply::Out;
use super::request::{REQUEST_BYTES, Request};
use super::shape::{self, Shape};
use super::table::{self, By, Entry, Local, TABLE};
use super::words::Fault;
use bytes::Bytes;
use dwcp_eventual::api::{Step, TRANSACTION_MAX};
use dwcp_eventual::{Answer, Command, Query, Refusal, Reply, not_kept};
use dwcp_node::AskError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the node may take for what a client sent in one go.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// Steps asked at once.
const STEPS_MAX: usize = TRANSACTION_MAX;

/// The place of a reply.
enum Slot {
    /// It is there already.
    Ready(Bytes),
    /// The next step's.
    Asked(Shape),
    /// The next step's, which is a transaction.
    Exec(Vec<Member>),
}

/// A command in a transaction.
enum Member {
    Ready(Bytes),
    Asked(Shape),
}

/// A transaction that is being queued.
#[derive(Default)]
struct Multi {
    commands: Vec<Command>,
    members: Vec<Member>,
    bytes: usize,
    spoiled: bool,
}

/// One client's side of the door.
pub(super) struct Session<B: Backend> {
    pub(super) shared: Arc<Shared<B>>,
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) name: Bytes,
    pub(super) library: (Bytes, Bytes),
    pub(super) since: Instant,
    /// Whether the client has said who it is, or need not.
    pub(super) known: bool,
    pub(super) keyspace: usize,
    /// Replies that are to be written.
    pub(super) out: Out,
    pub(super) listening: Listening<B::Notices>,
    /// The connection ends once all is written.
    pub(super) ends: bool,
    multi: Option<Multi>,
    slots: Vec<Slot>,
    steps: Vec<Step>,
    commands: usize,
    /// What was asked in one go: places in the table, and how often in a row.
    asked: Vec<(usize, u64)>,
    counted: Counted<B>,
}

/// Counts a connection among those that listen, for as long as it does.
struct Counted<B: Backend> {
    shared: Arc<Shared<B>>,
    listens: bool,
}

impl<B: Backend> Counted<B> {
    fn set(&mut self, listens: bool) {
        let all = &self.shared.counts.listening;
        match (self.listens, listens) {
            (false, true) => drop(all.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(all.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.listens = listens;
    }
}

impl<B: Backend> Drop for Counted<B> {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl<B: Backend> Session<B> {
    pub(super) fn new(shared: Arc<Shared<B>>, id: u64, address: String) -> Self {
        let known = shared.password.is_none();
        let counted = Counted { shared: shared.clone(), listens: false };
        Self {
            shared,
            id,
            address,
            name: Bytes::new(),
            library: (Bytes::new(), Bytes::new()),
            since: Instant::now(),
            known,
            keyspace: 0,
            out: Out::default(),
            listening: Listening::default(),
            ends: false,
            multi: None,
            slots: Vec::new(),
            steps: Vec::new(),
            commands: 0,
            asked: Vec::new(),
            counted,
        }
    }

    /// Makes it as new, its number and address kept.
    pub(super) fn reset(&mut self) {
        let fresh = Self::new(self.shared.clone(), self.id, std::mem::take(&mut self.address));
        let out = std::mem::take(&mut self.out.bytes);
        *self = fresh;
        self.out.bytes = out;
    }

    /// The keyspace meant.
    pub(super) fn chosen(&self) -> &Keyspace {
        let all = self.shared.backend.eventual();
        all.get(self.keyspace).unwrap_or(&all[0])
    }

    /// Answers what came in one go; the replies are in [`Session::out`] then.
    pub(super) async fn serve(&mut self, requests: impl Iterator<Item = Request>) {
        let begun = Instant::now();
        let mut n = 0;
        for request in requests {
            n += 1;
            match request {
                Request::Words(words) => self.request(words).await,
                Request::TooLarge { what, size, limit } => {
                    self.spoil();
                    let refusal = Refusal::TooLarge { what: what.into(), size, limit };
                    self.ready(|out| out.refusal(&refusal));
                }
            }
            if self.ends {
                break;
            }
        }
        self.flush().await;
        self.shared.counts.commands.fetch_add(n, Ordering::Relaxed);
        let took = begun.elapsed();
        for (place, times) in self.asked.drain(..) {
            self.shared.meter.record(place, took, times);
        }
        self.counted.set(self.listening.any());
    }

    async fn request(&mut self, mut words: Vec<Bytes>) {
        // Who sends many in one go sends the same ones.
        let same = self.asked.last().map(|(place, _)| *place).filter(|place| table::is_at(*place, &words[0]));
        let place = same.or_else(|| table::place(&words[0]));
        match (self.asked.last_mut(), place.unwrap_or(UNKNOWN)) {
            (Some((last, times)), place) if *last == place => *times += 1,
            (_, place) => self.asked.push((place, 1)),
        }
        let Some(entry) = place.map(|i| &TABLE[i]) else { return self.no_such(&words) };
        if !self.known && !entry.is_for_strangers() {
            return self.fault("NOAUTH Authentication required.");
        }
        if !entry.takes(words.len()) {
            return self.fault(&super::words::arity(entry.name));
        }
        if self.listening.any() && !self.out.resp3 && !is_for_listeners(entry) {
            let name = entry.name;
            return self.fault(&format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            ));
        }
        match entry.by {
            By::Replica(make) => {
                let bytes = size(&words);
                match make(&mut words).and_then(|made| self.scan_from(made)) {
                    Ok((command, shape)) => self.command(command, shape, bytes).await,
                    Err(fault) => self.spoilt_by(&fault),
                }
            }
            By::Session(local) => self.local(local, &words).await,
        }
    }

    /// A word that is no command of ours.
    fn no_such(&mut self, words: &[Bytes]) {
        if !self.known {
            return self.fault("NOAUTH Authentication required.");
        }
        match std::str::from_utf8(&words[0]).ok().and_then(not_kept) {
            Some(unkept) if unkept.command == "WATCH" && self.multi.is_some() => {
                self.fault("ERR WATCH inside MULTI is not allowed");
            }
            Some(unkept) => self.spoilt_by(&Fault::NotKept(unkept.command)),
            None => self.fault(&table::unknown(words)),
        }
    }

    /// An error; what is being queued is spoiled by it.
    pub(super) fn fault(&mut self, text: &str) {
        self.spoil();
        self.ready(|out| out.error(text));
    }
    fn spoilt_by(&mut self, fault: &Fault) {
        self.spoil();
        match fault {
            Fault::Text(text) => self.ready(|out| out.error(text)),
            Fault::NotKept(name) => {
                let strong = self.shared.backend.strong().to_owned();
                let refusal = not_kept(name).map(|u| u.refusal(&strong));
                self.ready(|out| match &refusal {
                    Some(refusal) => out.refusal(refusal),
                    None => out.error(&format!("ERR {name} is not served here")),
                });
            }
        }
    }
    fn spoil(&mut self) {
        if let Some(multi) = &mut self.multi {
            multi.spoiled = true;
        }
    }

    /// A scan goes on behind the name that its cursor stands for.
    fn scan_from(&self, (mut command, shape): (Command, Shape)) -> super::words::Made {
        if let (
            Shape::Scan(cursor @ 1..),
            Command::Scan { span, .. } | Command::SScan { span, .. } | Command::HScan { span, .. },
        ) = (shape, &mut command)
        {
            let text = "ERR invalid cursor: this node does not know it (any more); begin again with 0";
            span.after = Some(self.shared.cursors.name(cursor).ok_or(Fault::Text(text.into()))?);
        }
        Ok((command, shape))
    }

    async fn command(&mut self, command: Command, shape: Shape, bytes: usize) {
        if self.multi.is_some() {
            return self.queue(Some(command), Member::Asked(shape), bytes);
        }
        self.steps.push(Step::Command(command));
        self.slots.push(Slot::Asked(shape));
        self.commands += 1;
        if self.commands >= STEPS_MAX {
            self.flush().await;
        }
    }

    /// Puts a command into the transaction.
    fn queue(&mut self, command: Option<Command>, member: Member, bytes: usize) {
        let Some(multi) = &mut self.multi else { return };
        multi.bytes += bytes;
        let n = multi.members.len() + 1;
        if n > TRANSACTION_MAX {
            return self.fault(&format!("ERR a transaction has at most {TRANSACTION_MAX} commands"));
        }
        if multi.bytes > REQUEST_BYTES {
            (multi.commands, multi.members) = Default::default();
            return self.fault(&format!("ERR a transaction has at most {REQUEST_BYTES} bytes"));
        }
        if !multi.spoiled {
            multi.commands.extend(command);
            multi.members.push(member);
        }
        self.ready(|out| out.simple("QUEUED"));
    }

    /// A reply that needs nobody else.
    pub(super) fn ready(&mut self, say: impl FnOnce(&mut Out)) {
        if self.slots.is_empty() {
            return say(&mut self.out);
        }
        let mut own = Out { resp3: self.out.resp3, ..Out::default() };
        say(&mut own);
        self.slots.push(Slot::Ready(own.bytes.freeze()));
    }

    /// What the session does itself.
    async fn local(&mut self, local: Local, words: &[Bytes]) {
        match local {
            Local::Multi if self.multi.is_some() => {
                self.ready(|o| o.error("ERR MULTI calls can not be nested"))
            }
            Local::Multi => {
                self.multi = Some(Multi::default());
                self.ready(Out::ok);
            }
            Local::Discard => match self.multi.take() {
                Some(_) => self.ready(Out::ok),
                None => self.ready(|o| o.error("ERR DISCARD without MULTI")),
            },
            Local::Exec => self.exec().await,
            // These end whatever was begun.
            Local::Quit | Local::Reset => {
                self.multi = None;
                self.flush().await;
                self.apart(local, words).await;
            }
            _ if local.is_plain() && self.multi.is_some() => {
                let mut own = Out { resp3: self.out.resp3, ..Out::default() };
                self.plain(local, words, &mut own);
                self.queue(None, Member::Ready(own.bytes.freeze()), size(words));
            }
            _ if local.is_plain() => {
                let mut own = std::mem::take(&mut self.out);
                if self.slots.is_empty() {
                    self.plain(local, words, &mut own);
                    self.out = own;
                } else {
                    let mut apart = Out { resp3: own.resp3, ..Out::default() };
                    self.plain(local, words, &mut apart);
                    self.out = own;
                    self.slots.push(Slot::Ready(apart.bytes.freeze()));
                }
            }
            _ if self.multi.is_some() => self.fault("ERR Command not allowed inside a transaction"),
            _ => {
                self.flush().await;
                self.apart(local, words).await;
            }
        }
    }

    async fn exec(&mut self) {
        let Some(multi) = self.multi.take() else {
            return self.ready(|o| o.error("ERR EXEC without MULTI"));
        };
        if multi.spoiled {
            return self.ready(|o| o.error("EXECABORT Transaction discarded because of previous errors."));
        }
        if multi.commands.is_empty() {
            return self.ready(|out| {
                out.array(multi.members.len());
                for member in &multi.members {
                    if let Member::Ready(bytes) = member {
                        out.bytes.extend_from_slice(bytes);
                    }
                }
            });
        }
        // A question has at most so many commands in all.
        if self.commands + multi.commands.len() > STEPS_MAX {
            self.flush().await;
        }
        self.commands += multi.commands.len();
        self.steps.push(Step::Transaction(multi.commands));
        self.slots.push(Slot::Exec(multi.members));
    }

    /// Asks what has been gathered, and writes the replies.
    pub(super) async fn flush(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        let mut steps = std::mem::take(&mut self.steps);
        self.commands = 0;
        match steps.len() {
            0 => self.tell(std::iter::empty()),
            1 => {
                let query = match steps.pop() {
                    Some(Step::Transaction(commands)) => Query::Transaction(commands),
                    Some(Step::Command(command)) => Query::Command(command),
                    None => return,
                };
                let answer = self.ask(query).await;
                self.tell(std::iter::once(answer));
            }
            n => match self.ask(Query::Pipeline(steps)).await {
                Ok(Answer::Steps(answers)) if answers.len() == n => {
                    self.tell(answers.into_iter().map(|a| a.map_err(Refused::Replica)));
                }
                Ok(_) => self.tell(std::iter::repeat_n(Err(Refused::Node(AskError::Unknown)), n)),
                Err(refused) => self.tell(std::iter::repeat_n(Err(refused), n)),
            },
        }
    }

    /// Writes the replies, with these answers to what was asked.
    fn tell(&mut self, mut answers: impl Iterator<Item = Answered>) {
        let cursors = &self.shared.cursors;
        for slot in self.slots.drain(..) {
            match slot {
                Slot::Ready(bytes) => self.out.bytes.extend_from_slice(&bytes),
                Slot::Asked(shape) => match answers.next() {
                    Some(Ok(Answer::Reply(reply))) => shape::write(&mut self.out, cursors, shape, &reply),
                    other => mishap(&mut self.out, other),
                },
                Slot::Exec(members) => match answers.next() {
                    Some(Ok(Answer::Replies(replies))) => {
                        self.out.array(members.len());
                        let mut replies = replies.into_iter();
                        for member in members {
                            match member {
                                Member::Ready(bytes) => self.out.bytes.extend_from_slice(&bytes),
                                Member::Asked(shape) => told(&mut self.out, cursors, shape, replies.next()),
                            }
                        }
                    }
                    other => mishap(&mut self.out, other),
                },
            }
        }
    }

    /// Asks the node.
    pub(super) async fn ask(&mut self, query: Query) -> Answered {
        let group = self.chosen().group;
        self.shared.backend.ask(group, query, Instant::now() + DEADLINE).await
    }
}

fn told(
    out: &mut Out,
    cursors: &super::cursor::Cursors,
    shape: Shape,
    reply: Option<Result<Reply, Refusal>>,
) {
    match reply {
        Some(Ok(reply)) => shape::write(out, cursors, shape, &reply),
        Some(Err(refusal)) => out.refusal(&refusal),
        None => out.refused(&Refused::Node(AskError::Unknown)),
    }
}

/// No answer, or one to another question.
pub(super) fn mishap(out: &mut Out, answer: Option<Answered>) {
    match answer {
        Some(Err(refused)) => out.refused(&refused),
        _ => out.refused(&Refused::Node(AskError::Unknown)),
    }
}

fn size(words: &[Bytes]) -> usize {
    words.iter().map(Bytes::len).sum()
}

/// What a listening client of RESP2 may still ask: it could not tell other replies from changes.
const fn is_for_listeners(entry: &Entry) -> bool {
    use Local::{PSubscribe, PUnsubscribe, Ping, Quit, Reset, Subscribe, Unsubscribe};
    let By::Session(local) = entry.by else { return false };
    matches!(local, PSubscribe | PUnsubscribe | Ping | Quit | Reset | Subscribe | Unsubscribe)
}
