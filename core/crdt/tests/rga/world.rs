//! Replicas, what they send each other, and everything that can happen on the way.

use crate::spec::{Spec, names};
use dwcp_crdt::rga::{Applied, Delta, Op, Purged, Text};
use dwcp_crdt::{Dot, ReplicaIndex, VersionVector};

/// A stream of numbers: the same seed, the same history.
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0)
    }
    /// The next number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// How many of each replica's operations have been received.
type Received = Vec<usize>;

struct Replica {
    text: Text,
    received: Received,
    /// Where it typed last.
    cursor: usize,
    /// Dots it has used, if dots are names.
    dots: u64,
    /// It has all dead elements and may name them: it does as the textbook says, hang for hang.
    plain: bool,
    /// It has never purged nor met the state of one that has.
    whole: bool,
}

/// All of them.
pub(crate) struct World {
    rng: Rng,
    replicas: Vec<Replica>,
    /// Each replica's operations, with the dots they took.
    log: Vec<Vec<Op<String>>>,
    /// What each replica said it had received, at some moments.
    acks: Vec<Vec<Received>>,
    /// What each replica said was stable, and how many operations of its own it had made by then.
    lines: Vec<Vec<(usize, Received)>>,
    /// States of the past, that may still arrive.
    old: Vec<(Received, Vec<u8>)>,
    /// Names are dots of the space, so a sequence has gaps.
    gaps: bool,
    /// Much is acknowledged, retired and purged.
    tidy: bool,
    /// What happened, to be printed when something is wrong.
    pub(crate) story: Vec<String>,
}

impl World {
    /// A world of two to four replicas.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let n = 2 + rng.below(3);
        let replica = |_| Replica {
            text: Text::new(),
            received: vec![0; n],
            cursor: 0,
            dots: 0,
            plain: true,
            whole: true,
        };
        Self {
            replicas: (0..n).map(replica).collect(),
            log: vec![Vec::new(); n],
            acks: vec![vec![vec![0; n]]; n],
            lines: vec![vec![(0, vec![0; n])]; n],
            old: Vec::new(),
            gaps: rng.below(2) == 0,
            tidy: rng.below(3) == 0,
            rng,
            story: Vec::new(),
        }
    }

    /// One thing happens to one replica, which is then compared with the textbook.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let n = self.replicas.len();
        let i = self.rng.below(n);
        if self.tidy && self.rng.below(3) == 0 {
            return self.tidy_up(i);
        }
        match self.rng.below(100) {
            0..34 => self.insert(i)?,
            34..46 => self.delete(i)?,
            46..78 => self.deliver(i)?,
            78..82 => self.repeat(i)?,
            82..85 => self.ack(i),
            85..88 => self.retire(i),
            88..90 => self.purge(i),
            90..93 => self.join(i)?,
            93..95 => self.keep_state(i),
            95..97 => self.join_old(i)?,
            _ => self.restart(i)?,
        }
        self.compare(i)
    }

    /// What is deleted is acknowledged, retired and purged, by everyone at once or by some.
    fn tidy_up(&mut self, i: usize) -> Result<(), String> {
        let n = self.replicas.len();
        match self.rng.below(6) {
            5 => self.delete_twice(i)?,
            0 => (0..n).for_each(|r| self.ack(r)),
            1 => (0..n).for_each(|r| self.retire(r)),
            2 => self.purge(i),
            3 => self.deliver(i)?,
            _ => {
                for r in 0..n {
                    (0..n).try_for_each(|from| self.deliver_from(r, from, usize::MAX))?;
                }
                // Acknowledged twice: the line may be drawn by the acknowledgement before the last.
                (0..2 * n).for_each(|r| self.ack(r % n));
                (0..n).for_each(|r| self.retire(r));
                self.purge(i);
            }
        }
        (0..n).try_for_each(|r| self.compare(r))
    }

    /// Two replicas delete one element at once. All hear of the one deletion, say so and retire it; then of the other, and some purge.
    /// Whoever had deleted it first writes where it was.
    fn delete_twice(&mut self, i: usize) -> Result<(), String> {
        let n = self.replicas.len();
        let j = (i + 1 + self.rng.below(n - 1)) % n;
        let len = self.replicas[i].text.len();
        if len == 0 {
            return Ok(());
        }
        let at = self.rng.below(len);
        let there = self.replicas[i].text.name_at(at).and_then(|name| {
            let theirs = &self.replicas[j].text;
            theirs.position(name).filter(|p| theirs.name_at(*p) == Some(name))
        });
        let Some(there) = there else { return Ok(()) };
        self.delete_at(i, at, 1)?;
        self.delete_at(j, there, 1)?;
        (0..n)
            .filter(|_| self.rng.below(2) == 0)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|r| self.retire(r));
        (0..n).try_for_each(|r| self.deliver_from(r, j, usize::MAX))?;
        (0..n).for_each(|r| self.retire(r));
        (0..2 * n).for_each(|r| self.ack(r % n));
        (0..n).for_each(|r| self.retire(r));
        for r in 0..n {
            (0..n).try_for_each(|from| self.deliver_from(r, from, usize::MAX))?;
            self.purge(r);
        }
        self.replicas[i].cursor = at;
        self.insert(i)
    }

    /// All is delivered; all replicas are equal, and nothing waits.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for i in 0..self.replicas.len() {
            for j in 0..self.replicas.len() {
                while self.replicas[i].received[j] < self.log[j].len() {
                    self.take(i, j)?;
                }
            }
            self.compare(i)?;
        }
        let essence = |r: &Replica| {
            let mut out = dwcp_crdt::code::Writer::new();
            r.text.essence(&mut out);
            out.into_bytes()
        };
        let first = essence(&self.replicas[0]);
        for (i, r) in self.replicas.iter().enumerate() {
            if essence(r) != first {
                return Err(format!("r{i} has another fingerprint than r0"));
            }
            let whole = r.text.delta();
            if r.whole && self.replicas[0].whole && whole.encode() != self.replicas[0].text.encode() {
                return Err(format!("r{i} has other bytes than r0"));
            }
        }
        // Everything is stable now: after a purge only what others hang on stays, and the text is the same.
        for i in 0..self.replicas.len() {
            let all = self.replicas[i].text.deleted().clone();
            let Purged { kept, .. } = self.replicas[i].text.purge(&all);
            self.compare(i)?;
            let again = self.replicas[i].text.purge(&all);
            if again != (Purged { forgotten: 0, kept }) {
                return Err(format!("r{i}: a second purge did {again:?}"));
            }
            if self.replicas[i].text.encode() != self.replicas[0].text.encode() {
                return Err(format!("r{i} has other bytes than r0 after a full purge"));
            }
        }
        Ok(())
    }

    fn spec(&self, received: &Received) -> Spec {
        let mut spec = Spec::default();
        for (j, n) in received.iter().enumerate() {
            for op in &self.log[j][..*n] {
                spec.receive(op);
            }
        }
        spec
    }

    fn compare(&self, i: usize) -> Result<(), String> {
        let r = &self.replicas[i];
        let spec = self.spec(&r.received);
        let (is, should) = (r.text.content(), spec.text());
        if is != should {
            return Err(format!("r{i} reads {is:?}, should read {should:?}"));
        }
        if names(&r.text) != spec.live() {
            return Err(format!("r{i} has other names than it should"));
        }
        Ok(())
    }

    /// The names an insertion of `n` elements takes, and the dot of the operation.
    fn dots(&mut self, i: usize, n: u64) -> Dot {
        let replica = ReplicaIndex(i as u16);
        if self.gaps {
            let skip = if self.rng.below(4) == 0 { self.rng.below(3) as u64 } else { 0 };
            let first = Dot::new(replica, self.replicas[i].dots + 1 + skip);
            self.replicas[i].dots += n + skip;
            return first;
        }
        self.replicas[i].text.next(replica)
    }

    fn push(&mut self, i: usize, op: Op<String>) {
        self.story.push(format!("r{i} {op:?}"));
        self.log[i].push(op);
        self.replicas[i].received[i] += 1;
    }

    fn insert(&mut self, i: usize) -> Result<(), String> {
        let len = self.replicas[i].text.len();
        let cursor = self.replicas[i].cursor.min(len);
        let (at, next) = match self.rng.below(8) {
            0..3 => (cursor, true),
            3..5 => (cursor, false),
            5 => (0, false),
            6 => (len, true),
            _ => (self.rng.below(len + 1), true),
        };
        let n = 1 + self.rng.below(3);
        let letters = ["a", "b", "ö", "d", "€", "f"];
        let content: String = (0..n).map(|_| letters[self.rng.below(6)]).collect();
        let first = self.dots(i, n as u64);
        let r = &self.replicas[i];
        let should = r.plain.then(|| self.spec(&r.received).hang(at));
        let r = &mut self.replicas[i];
        let hang = r.text.insert(first, at, &content).map_err(|e| e.to_string())?;
        if should.is_some_and(|should| should != hang) {
            return Err(format!("r{i} hangs an insertion at {at} on {hang:?}, should on {should:?}"));
        }
        r.cursor = if next { at + n } else { at };
        self.push(i, Op::Insert { first, hang, content });
        Ok(())
    }

    fn delete(&mut self, i: usize) -> Result<(), String> {
        let len = self.replicas[i].text.len();
        if len == 0 {
            return Ok(());
        }
        let at = match self.rng.below(3) {
            0 => self.rng.below(len),
            _ => self.replicas[i].cursor.min(len).saturating_sub(1),
        };
        let n = (1 + self.rng.below(4)).min(len - at);
        self.delete_at(i, at, n)
    }

    fn delete_at(&mut self, i: usize, at: usize, n: usize) -> Result<(), String> {
        let by = if self.gaps {
            self.dots(i, 1)
        } else {
            Dot::new(ReplicaIndex(i as u16), self.log[i].len() as u64 + 1)
        };
        let r = &mut self.replicas[i];
        r.cursor = at;
        let spans = r.text.delete(by, at..at + n).map_err(|e| e.to_string())?;
        self.push(i, Op::Delete { by, spans });
        Ok(())
    }

    /// The next operation of `j` comes to `i`, through its bytes.
    fn take(&mut self, i: usize, j: usize) -> Result<(), String> {
        let k = self.replicas[i].received[j];
        let op = &self.log[j][k];
        let op = Op::decode(&op.encode()).map_err(|e| e.to_string())?;
        let applied = self.replicas[i].text.apply(&op).map_err(|e| e.to_string())?;
        self.story.push(format!("r{i} <- r{j}#{k}: {applied:?}"));
        // What a deletion killed before it came is not named when it comes; the textbook would.
        let early = applied == Applied::Waits && matches!(op, Op::Delete { .. });
        self.replicas[i].plain &= !early;
        self.replicas[i].received[j] += 1;
        Ok(())
    }

    fn deliver(&mut self, i: usize) -> Result<(), String> {
        let j = self.rng.below(self.replicas.len());
        let most = 1 + self.rng.below(4);
        self.deliver_from(i, j, most)
    }

    fn deliver_from(&mut self, i: usize, j: usize, most: usize) -> Result<(), String> {
        for _ in self.replicas[i].received[j]
            ..self.log[j].len().min(self.replicas[i].received[j].saturating_add(most))
        {
            self.take(i, j)?;
        }
        Ok(())
    }

    fn repeat(&mut self, i: usize) -> Result<(), String> {
        let j = self.rng.below(self.replicas.len());
        let k = self.rng.below(self.replicas[i].received[j]);
        if let Some(op) = self.log[j][..self.replicas[i].received[j]].get(k) {
            let applied = self.replicas[i].text.apply(op).map_err(|e| e.to_string())?;
            if applied == Applied::Now {
                return Err(format!("r{i} took r{j}#{k} twice"));
            }
        }
        Ok(())
    }

    fn ack(&mut self, i: usize) {
        let received = self.replicas[i].received.clone();
        self.acks[i].push(received);
    }

    /// The deletions among what was received.
    fn deletions(&self, received: &Received) -> VersionVector {
        let mut line = VersionVector::new();
        for (log, n) in self.log.iter().zip(received) {
            for op in &log[..*n] {
                if let Op::Delete { by, .. } = op {
                    line.raise(by.replica(), by.sequence());
                }
            }
        }
        line
    }

    /// Retires what every replica has acknowledged, and says so.
    fn retire(&mut self, i: usize) {
        let mut line = self.replicas[i].received.clone();
        for (_, acks) in self.acks.iter().enumerate().filter(|(r, _)| *r != i) {
            let ack = &acks[acks.len() - 1 - self.rng.below(acks.len().min(2))];
            line.iter_mut().zip(ack).for_each(|(l, a)| *l = (*l).min(*a));
        }
        let deletions = self.deletions(&line);
        self.replicas[i].text.retire(&deletions);
        self.replicas[i].plain &= deletions.is_empty();
        self.story.push(format!("r{i} retires to {line:?}"));
        let own = self.replicas[i].received[i];
        self.lines[i].push((own, line));
    }

    /// Purges by the promise: each replica's newest line that it drew before the last of its operations
    /// received here.
    fn purge(&mut self, i: usize) {
        let mut line = self.lines[i].last().expect("the first is empty").1.clone();
        for (r, lines) in self.lines.iter().enumerate() {
            let seen = self.replicas[i].received[r];
            let theirs = lines.iter().rev().find(|(own, _)| *own <= seen).expect("the first is empty");
            line.iter_mut().zip(&theirs.1).for_each(|(l, t)| *l = (*l).min(*t));
        }
        let deletions = self.deletions(&line);
        let purged = self.replicas[i].text.purge(&deletions);
        self.replicas[i].plain &= deletions.is_empty();
        self.replicas[i].whole &= purged.forgotten == 0;
        self.story.push(format!("r{i} purges to {line:?}: {purged:?}"));
    }

    /// A state of another replica comes, whole or in parts.
    fn join(&mut self, i: usize) -> Result<(), String> {
        let k = self.rng.below(self.replicas.len());
        let state = self.replicas[k].text.delta();
        let received = self.replicas[k].received.clone();
        let limit = [1 << 20, 60, 20][self.rng.below(3)];
        for part in state.split(limit) {
            let part = Delta::decode(&part.encode()).map_err(|e| e.to_string())?;
            self.replicas[i].text.join(&part).map_err(|e| e.to_string())?;
        }
        self.story.push(format!("r{i} joins r{k}'s state, cut at {limit}"));
        self.joined(i, &received);
        Ok(())
    }

    fn joined(&mut self, i: usize, received: &Received) {
        for (mine, theirs) in self.replicas[i].received.iter_mut().zip(received) {
            *mine = (*mine).max(*theirs);
        }
        // Whose bytes may lack what the other purged, and who does not know who killed what came.
        self.replicas[i].plain = false;
        self.replicas[i].whole = false;
    }

    fn keep_state(&mut self, i: usize) {
        let r = &self.replicas[i];
        self.old.push((r.received.clone(), r.text.encode()));
    }

    fn join_old(&mut self, i: usize) -> Result<(), String> {
        let k = self.rng.below(self.old.len());
        let Some((received, bytes)) = self.old.get(k).cloned() else { return Ok(()) };
        let part = Delta::decode(&bytes).map_err(|e| e.to_string())?;
        self.replicas[i].text.join(&part).map_err(|e| e.to_string())?;
        self.story.push(format!("r{i} joins an old state {received:?}"));
        self.joined(i, &received);
        Ok(())
    }

    /// It comes back from its bytes.
    fn restart(&mut self, i: usize) -> Result<(), String> {
        let r = &mut self.replicas[i];
        let bytes = r.text.encode();
        let back = Text::decode(&bytes).map_err(|e| e.to_string())?;
        if back.encode() != bytes || back != r.text {
            return Err(format!("r{i} comes back as another"));
        }
        r.text = back;
        r.plain = false;
        self.story.push(format!("r{i} comes back from its bytes"));
        Ok(())
    }
}
