//! Reads: a majority says which instances there are; once all of these are executed here, local state is current.
//!
//! Any decision has a member of any majority among those who pre-accepted it (fast) or voted for it (slow). So
//! what was decided before the question is among the numbers told, and executed here before the answer. One
//! question serves all reads that came before it was asked.
//!
//! **Invariant.** An answer is to the question that is open, and to no earlier one. A question is known by its round, and rounds
//! are counted in memory: so a life counts from a number of its own, drawn from the seed of the process and the time. What is on its way from before a crash,
//! queued at a peer for as long as it likes, would else answer the same round of this life with what there was then.

use super::config::Config;
use super::message::Message;
use super::planted::{self, Bug};
use super::protocol::{Epaxos, Out};
use crate::engine::{EngineError, Token};
use crate::quorum::NodeSet;
use crate::step::Output;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::{Instant, Purpose, Seed};

const ROUNDS: Purpose = Purpose::named("epaxos.reads");
/// Reads that may wait at once.
const READS_MAX: usize = 8_192;

/// A read and when it is given up.
type Asked = (Token, Instant);

/// Reads in progress.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Reads {
    round: u64,
    /// Not yet part of a question.
    waiting: VecDeque<Asked>,
    /// The question that is out.
    open: Option<Question>,
    /// Answered, and not all of it executed here.
    behind: VecDeque<Question>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Question {
    reads: Vec<Asked>,
    answers: NodeSet,
    /// By replica: the highest number heard of by any who answered.
    seen: Vec<u64>,
    again_at: Instant,
}

impl Reads {
    /// Those of a life.
    pub(super) fn begin(config: &Config, now: Instant) -> Self {
        // With room to count in, and short on the wire.
        let round = Seed(config.set.seed).draw(ROUNDS, u64::from(config.place), now, 0) >> 16;
        Self { round, ..Self::default() }
    }
    fn len(&self) -> usize {
        let behind: usize = self.behind.iter().map(|q| q.reads.len()).sum();
        self.waiting.len() + behind + self.open.as_ref().map_or(0, |q| q.reads.len())
    }
    pub(super) fn wake_at(&self) -> Instant {
        let deadline = |reads: &Vec<Asked>| reads.first().map_or(Instant::FAR, |(_, at)| *at);
        let open = self.open.as_ref().map_or(Instant::FAR, |q| q.again_at.min(deadline(&q.reads)));
        let behind = self.behind.iter().map(|q| deadline(&q.reads)).min().unwrap_or(Instant::FAR);
        let waiting = self.waiting.front().map_or(Instant::FAR, |(_, at)| *at);
        open.min(behind).min(waiting)
    }
}

impl Epaxos {
    pub(super) fn read(&mut self, now: Instant, token: Token, out: &mut Out) {
        if self.reads.len() >= READS_MAX {
            let error =
                EngineError::Refused(String::from("too many reads wait for a quorum: ask again later"));
            return out.push(Output::Refused { token, error });
        }
        self.reads.waiting.push_back((token, now + self.config.set.give_up_after));
        self.ask(now, out);
    }
    /// Asks for all that wait, if no question is out.
    fn ask(&mut self, now: Instant, out: &mut Out) {
        if self.reads.open.is_some() || self.reads.waiting.is_empty() {
            return;
        }
        self.reads.round += 1;
        self.reads.open = Some(Question {
            reads: self.reads.waiting.drain(..).collect(),
            answers: NodeSet::one(self.config.me()),
            seen: self.seen.clone(),
            again_at: now + self.config.set.resend,
        });
        let round = self.reads.round;
        self.config.others().for_each(|to| self.tell(to, Message::ReadAsk { round }, out));
        self.close(now, out);
    }
    pub(super) fn on_read_ask(&self, from: u8, round: u64, out: &mut Out) {
        // What is not yet on disk is told too: more than needed does no harm.
        self.tell(from, Message::ReadOk { round, seen: self.seen.clone() }, out);
    }
    pub(super) fn on_read_ok(&mut self, now: Instant, from: u8, round: u64, seen: &[u64], out: &mut Out) {
        if round != self.reads.round {
            return;
        }
        let Some(question) = &mut self.reads.open else { return };
        question.answers.insert(usize::from(from));
        question.seen.iter_mut().zip(seen).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        self.close(now, out);
    }
    /// Ends the question once a majority answered.
    fn close(&mut self, now: Instant, out: &mut Out) {
        let local = planted::is(Bug::LocalRead);
        if !self.reads.open.as_ref().is_some_and(|q| local || self.config.is_slow_quorum(q.answers)) {
            return;
        }
        let question = self.reads.open.take().expect("just seen");
        for (replica, seen) in question.seen.iter().enumerate() {
            self.note(now, replica as u8, *seen);
        }
        self.reads.behind.push_back(question);
        self.answer_reads(out);
        self.ask(now, out);
    }
    /// Answers those of which all is executed. Later questions wait for more: they end in order.
    pub(super) fn answer_reads(&mut self, out: &mut Out) {
        while let Some(question) = self.reads.behind.front() {
            let done = question.seen.iter().zip(&self.executed.frontier).all(|(seen, done)| seen <= done);
            if !done {
                break;
            }
            let question = self.reads.behind.pop_front().expect("just seen");
            out.extend(question.reads.into_iter().map(|(token, _)| Output::Readable { token }));
        }
    }
    pub(super) fn tick_reads(&mut self, now: Instant, out: &mut Out) {
        let mut late: Vec<Token> = Vec::new();
        let mut keep = |(token, at): &Asked| {
            let keep = *at > now;
            if !keep {
                late.push(*token);
            }
            keep
        };
        self.reads.waiting.retain(&mut keep);
        self.reads.open.iter_mut().chain(&mut self.reads.behind).for_each(|q| q.reads.retain(&mut keep));
        self.reads.open.take_if(|q| q.reads.is_empty());
        self.reads.behind.retain(|q| !q.reads.is_empty());
        for token in late {
            let error = EngineError::Refused(String::from(
                "no quorum answered in time, or what it knows is not decided",
            ));
            out.push(Output::Refused { token, error });
        }
        let round = self.reads.round;
        if let Some(question) = &mut self.reads.open
            && question.again_at <= now
        {
            question.again_at = now + self.config.set.resend;
            let answers = question.answers;
            let missing = self.config.others().filter(|to| !answers.has(usize::from(*to)));
            missing.for_each(|to| self.tell(to, Message::ReadAsk { round }, out));
        }
        self.ask(now, out);
    }
}
