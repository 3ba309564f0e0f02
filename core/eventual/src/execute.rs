//! Questions of clients.

use crate::api::{
    Answer, CHANNELS_MAX, Command, Query, Reply, Step, Subscription, TRANSACTION_MAX, WRITE_MAX,
};
use crate::command::{self, Cost, View};
use crate::refusal::Refusal;
use crate::replica::{Eventual, Held, Outbox, millis};
use bytes::Bytes;
use dwcp_crdt::edit::EditFault;
use dwcp_crdt::space::Rejected;
use dwcp_env::bound::REQUESTS_IN_FLIGHT;
use dwcp_env::{Instant, Now, RequestId};
use dwcp_wal::Lsn;

/// Subscriptions of one replica.
const SUBSCRIPTIONS_MAX: usize = 4_096;

impl Eventual {
    /// A client asks. What needs no disk is answered at once.
    pub fn on_query(&mut self, now: Now, id: RequestId, deadline: Instant, query: Query, out: &mut Outbox) {
        let fits = matches!(query, Query::Documents(_) | Query::Status | Query::Evict { .. });
        if self.documents.is_some() && !fits {
            let why = "this keyspace holds documents, not keys: see `dwcp document --help`".to_string();
            return out.replies.push((id, Err(Refusal::Argument(why)), true));
        }
        let answer = match query {
            Query::Documents(question) => return self.on_documents(now, id, deadline, *question, out),
            Query::Command(command) => return self.one(now, id, deadline, &command, out),
            Query::Transaction(commands) => return self.several(now, id, deadline, &commands, out),
            Query::Pipeline(steps) => return self.pipeline(now, id, deadline, &steps, out),
            Query::Subscribe(wanted) => {
                let begun = self.subscribe(id, wanted);
                let last = begun.is_err();
                return out.replies.push((id, begun, last));
            }
            Query::Explain { key } => {
                let view = View { space: &self.space, millis: millis(now), draw: 0 };
                match self.may_read() {
                    Ok(()) => {
                        let answer = Answer::Explained(Box::new(command::explain(view, &key)));
                        let waits = self.unsynced_any.max(self.unsynced.get(&key).copied());
                        return self.answer_after(waits, (id, deadline), answer, out);
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Query::Status => Ok(Answer::Status(Box::new(self.status(now)))),
            Query::Evict { node } => self.evict(now, node).map(|()| Answer::Reply(Reply::Done)),
        };
        out.replies.push((id, answer, true));
    }

    /// A client waits no longer.
    pub fn on_cancel(&mut self, id: RequestId) {
        self.subscriptions.remove(&id);
    }

    fn subscribe(&mut self, id: RequestId, wanted: Subscription) -> Result<Answer, Refusal> {
        let n = wanted.channels.len() + wanted.patterns.len();
        if n > CHANNELS_MAX {
            let what = "the number of channels".to_string();
            return Err(Refusal::TooLarge { what, size: n as u64, limit: CHANNELS_MAX as u64 });
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Refusal::Overloaded);
        }
        self.subscriptions.insert(id, wanted);
        Ok(Answer::Notices(Vec::new()))
    }

    fn one(&mut self, now: Now, id: RequestId, deadline: Instant, command: &Command, out: &mut Outbox) {
        let done = self.perform(now, command, &mut Cost::default());
        match done {
            Ok((reply, wrote)) => {
                self.answer(
                    now,
                    (id, deadline),
                    Answer::Reply(reply),
                    || std::iter::once(command),
                    wrote,
                    out,
                );
            }
            Err(refusal) => out.replies.push((id, Err(refusal), true)),
        }
    }

    fn perform(&mut self, now: Now, command: &Command, cost: &mut Cost) -> Result<(Reply, bool), Refusal> {
        self.may_read()?;
        let draw = if command.draws() { self.draw(now) } else { 0 };
        let view = View { space: &self.space, millis: millis(now), draw };
        cost.begin(view, command)?;
        if let Some((stroke, reply)) = command::stroke(view, command) {
            cost.end(&reply);
            self.check_room()?;
            let made = self.space.make_stroke(millis(now), &stroke).map_err(|r| self.refusal(r))?;
            return Ok((reply, made));
        }
        let plan = command::plan(view, command)?;
        cost.end(&plan.reply);
        if plan.edits.is_empty() {
            return Ok((plan.reply, false));
        }
        self.check_room()?;
        let made = self.space.make(millis(now), &plan.edits).map_err(|r| self.refusal(r))?;
        Ok((plan.reply, made))
    }

    fn several(
        &mut self,
        now: Now,
        id: RequestId,
        deadline: Instant,
        commands: &[Command],
        out: &mut Outbox,
    ) {
        match self.transaction(now, commands, &mut Cost::default()) {
            Ok((replies, wrote)) => {
                self.answer(now, (id, deadline), Answer::Replies(replies), || commands.iter(), wrote, out);
            }
            Err(refusal) => out.replies.push((id, Err(refusal), true)),
        }
    }

    fn pipeline(&mut self, now: Now, id: RequestId, deadline: Instant, steps: &[Step], out: &mut Outbox) {
        if let Err(refusal) = few(steps.iter().map(|s| s.commands().len()).sum()) {
            return out.replies.push((id, Err(refusal), true));
        }
        self.warm(steps);
        let (mut answers, mut wrote) = (Vec::with_capacity(steps.len()), false);
        let mut cost = Cost::default();
        for step in steps {
            let done = match step {
                Step::Command(command) => {
                    self.perform(now, command, &mut cost).map(|(r, w)| (Answer::Reply(r), w))
                }
                Step::Transaction(commands) => {
                    self.transaction(now, commands, &mut cost).map(|(r, w)| (Answer::Replies(r), w))
                }
            };
            answers.push(done.map(|(answer, made)| {
                wrote |= made;
                answer
            }));
        }
        let all = || steps.iter().flat_map(Step::commands);
        self.answer(now, (id, deadline), Answer::Steps(answers), all, wrote, out);
    }

    /// Looks up together what the steps of a pipeline will look up one after the other: alone each waits for memory.
    fn warm(&self, steps: &[Step]) {
        const FEW: usize = 4;
        let commands = || steps.iter().flat_map(Step::commands);
        let mut keys: Vec<&[u8]> = Vec::with_capacity(steps.len());
        commands().for_each(|c| c.each_key(|key| keys.push(key)));
        keys.dedup();
        match keys[..] {
            [key] => {
                let members = commands().flat_map(|c| match c {
                    Command::SAdd { members, .. } | Command::SRem { members, .. } => &members[..],
                    Command::SIsMember { member, .. } => std::slice::from_ref(member),
                    Command::HGet { field, .. } | Command::HIncrBy { field, .. } => {
                        std::slice::from_ref(field)
                    }
                    _ => &[],
                });
                let members: Vec<&[u8]> = members.map(|m| &m[..]).collect();
                if members.len() >= FEW {
                    self.space.warm_members(key, &members);
                }
            }
            _ if keys.len() >= FEW => self.space.warm_keys(&keys),
            _ => {}
        }
    }

    #[allow(clippy::type_complexity, reason = "the pair is taken apart at once")]
    fn transaction(
        &mut self,
        now: Now,
        commands: &[Command],
        cost: &mut Cost,
    ) -> Result<(Vec<Result<Reply, Refusal>>, bool), Refusal> {
        self.may_read()?;
        if commands.len() > TRANSACTION_MAX {
            let what = "the number of commands in a transaction".to_string();
            return Err(Refusal::TooLarge {
                what,
                size: commands.len() as u64,
                limit: TRANSACTION_MAX as u64,
            });
        }
        let ms = millis(now);
        let mut transaction = None;
        if commands.iter().any(Command::writes) {
            self.check_room()?;
            transaction = Some(self.space.begin(ms).map_err(|r| self.refusal(r))?);
        }
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let draw = if command.draws() { self.draw(now) } else { 0 };
            let view = View { space: &self.space, millis: ms, draw };
            let planned = cost.begin(view, command).and_then(|()| command::plan(view, command));
            let reply = planned.and_then(|plan| {
                cost.end(&plan.reply);
                if let Some(t) = transaction.as_mut().filter(|_| !plan.edits.is_empty()) {
                    let left = WRITE_MAX.saturating_sub(t.size());
                    let weight = self.space.weigh(&plan.edits, left);
                    if weight > left {
                        let what = "what the transaction writes".to_string();
                        let size = (t.size() + weight) as u64;
                        return Err(Refusal::TooLarge { what, size, limit: WRITE_MAX as u64 });
                    }
                    self.space.edit(t, &plan.edits).map_err(|r| self.refusal(r))?;
                }
                Ok(plan.reply)
            });
            replies.push(reply);
        }
        let made = transaction.is_some_and(|t| self.space.commit(t));
        Ok((replies, made))
    }

    /// Answers when what the answer speaks of is durable: the write, or the write that a read shows. At once where
    /// answers go ahead of the disk (`crate::replica`).
    fn answer<'c, C: Iterator<Item = &'c Command>>(
        &mut self,
        now: Now,
        (id, deadline): (RequestId, Instant),
        answer: Answer,
        commands: impl Fn() -> C,
        wrote: bool,
        out: &mut Outbox,
    ) {
        if wrote {
            let ahead = self.answers_ahead(now) && !commands().any(Command::spends);
            if ahead {
                return out.replies.push((id, Ok(answer), true));
            }
            for key in commands().filter(|c| c.writes()).flat_map(Command::keys) {
                self.is_fresh(key);
            }
            if commands().any(|c| c.writes() && c.is_keyless()) {
                self.unsynced_any = Some(Lsn(u64::MAX));
            }
            return self.fresh.push(Held::Reply { id, deadline, answer });
        }
        let mut waits = self.unsynced_any;
        if !self.unsynced.is_empty() {
            let mut shown = |key: &Bytes| waits = waits.max(self.unsynced.get(key).copied());
            commands().for_each(|c| c.each_key(&mut shown));
            if commands().any(Command::is_keyless) {
                // It may show any of them: the last.
                let fresh = (!self.fresh_keys.is_empty()).then_some(Lsn(u64::MAX));
                waits = waits.max(fresh).max(self.unsynced_order.back().map(|(lsn, _)| *lsn));
            }
        }
        self.answer_after(waits, (id, deadline), answer, out);
    }

    /// A key was written in this turn: who reads it waits for the disk.
    pub(crate) fn is_fresh(&mut self, key: &Bytes) {
        if self.unsynced.insert(key.clone(), Lsn(u64::MAX)) != Some(Lsn(u64::MAX)) {
            self.fresh_keys.push(key.clone());
        }
    }

    /// Answers when a record is durable; at once if none is waited for.
    pub(crate) fn answer_after(
        &mut self,
        waits: Option<Lsn>,
        (id, deadline): (RequestId, Instant),
        answer: Answer,
        out: &mut Outbox,
    ) {
        let held = |answer| Held::Reply { id, deadline, answer };
        match waits {
            None => out.replies.push((id, Ok(answer), true)),
            Some(Lsn(u64::MAX)) => self.fresh.push(held(answer)),
            Some(lsn) => self.hold(lsn, held(answer)),
        }
    }

    pub(crate) fn may_read(&self) -> Result<(), Refusal> {
        if self.identity.is_some_and(|i| i.whole) {
            return Ok(());
        }
        Err(Refusal::NotReady(self.waiting_for().unwrap_or_default()))
    }

    /// Whether operations may be made at our place.
    pub(crate) fn may_make(&self) -> bool {
        self.place_lost.is_none() && self.serves()
    }

    /// Whether new operations may be.
    pub(crate) fn may_write(&self) -> bool {
        self.may_make() && !self.owes()
    }

    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        if let Some(why) = self.place_lost {
            return Err(Refusal::NotReady(format!("{why}: it waits for a new place in the roster")));
        }
        if self.owes() {
            return Err(Refusal::NotReady("what it wrote at its last place is being made anew, or will be once the end of that place is decided".into()));
        }
        let limit = self.spec.unstable_max.0;
        if self.unstable_bytes > limit {
            self.probe.reachable("eventual.backlog_refused");
            return Err(Refusal::Backlog { bytes: self.unstable_bytes, limit });
        }
        if self.held.len() + self.fresh.len() >= REQUESTS_IN_FLIGHT {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    pub(crate) fn refusal(&self, rejected: Rejected) -> Refusal {
        match rejected {
            Rejected::Drift(drift) => {
                self.probe.reachable("eventual.drift_refused");
                Refusal::Clock(drift.to_string())
            }
            Rejected::Edit(_, EditFault::Overflow) => Refusal::Overflow,
            Rejected::Edit(_, EditFault::Rights { wanted, held }) => {
                Refusal::NoRights { wanted, held, elsewhere: None }
            }
            Rejected::Edit(_, EditFault::Size { what, size, limit }) => {
                Refusal::TooLarge { what: what.into(), size: size as u64, limit: limit as u64 }
            }
            Rejected::Edit(_, other) => Refusal::Argument(other.to_string()),
            Rejected::Large(limit) => {
                let what = "the number of changes".to_string();
                Refusal::TooLarge { what, size: limit as u64 + 1, limit: limit as u64 }
            }
            standing @ Rejected::Standing(..) => Refusal::NotReady(standing.to_string()),
        }
    }
}

fn few(commands: usize) -> Result<(), Refusal> {
    if commands <= TRANSACTION_MAX {
        return Ok(());
    }
    let what = "the number of commands at once".to_string();
    Err(Refusal::TooLarge { what, size: commands as u64, limit: TRANSACTION_MAX as u64 })
}
