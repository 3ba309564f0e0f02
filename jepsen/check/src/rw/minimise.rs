//! From a refusal to the few operations that show it.
//!
//! A part of a history is easier to explain than the whole if only demands are taken away:
//!
//! | step | why it only weakens |
//! |---|---|
//! | leave out a transaction nobody reads from | whoever can order the whole can order the rest |
//! | leave out a transaction, and the reads of its writes | those reads then demand nothing |
//! | leave out a single read | it demanded something |
//! | leave out a single write that nobody reads | any order of the rest stays one |
//!
//! So what is refused after such a step is a proof for the whole. Halves first, then
//! quarters, down to single transactions, then single steps (Zeller's *ddmin*), within a
//! bounded number of trials.

use super::{Anomaly, Options, Step, Transaction, Unwritten, Verdict, decide};
use crate::history::Value;
use crate::linearizable::machine::Spread;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

/// Steps of transactions that all trials together may look at.
const LOOKS: u64 = 40_000_000;

type Seen = HashSet<(Value, Value), BuildHasherDefault<Spread2>>;

/// Two numbers in a row.
#[derive(Default)]
struct Spread2(Spread);

impl std::hash::Hasher for Spread2 {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0.write_u64(value);
    }
}

struct Cutter<'t, 'o> {
    whole: &'t [Transaction],
    options: &'o Options,
    looks: u64,
}

/// Judges, and cuts a refusal down. Indices are those of the whole.
pub(crate) fn check(transactions: &[Transaction], options: &Options) -> Verdict {
    let first = decide::check(transactions, options);
    let Verdict::Invalid(anomalies) = first else { return first };
    let size = |anomaly: &Anomaly| {
        let steps = anomaly.transactions.iter().map(|at| transactions[*at].steps.len());
        steps.sum::<usize>()
    };
    if !anomalies[0].edges.is_empty()
        && anomalies.iter().map(size).min().is_some_and(|size| size <= 10)
        && self_evident(&anomalies[0])
    {
        return Verdict::Invalid(anomalies);
    }
    let mut cutter = Cutter { whole: transactions, options, looks: LOOKS };
    let kept = cutter.cut(&anomalies);
    let (part, indices) = cutter.part(&kept);
    let Verdict::Invalid(mut found) = decide::check(&part, options) else {
        return Verdict::Invalid(anomalies);
    };
    for anomaly in &mut found {
        rename(anomaly, &indices, &part);
    }
    Verdict::Invalid(found)
}

/// Whether an anomaly needs nothing but its own transactions: a cycle of reads and orders,
/// or an anomaly without a cycle.
fn self_evident(anomaly: &Anomaly) -> bool {
    anomaly.edges.iter().all(|(_, _, label)| matches!(label.as_str(), "wr" | "process" | "realtime"))
}

/// Transactions kept, each with the steps kept.
type Kept = Vec<(usize, Vec<Step>)>;

impl Cutter<'_, '_> {
    fn part(&self, kept: &Kept) -> (Vec<Transaction>, Vec<usize>) {
        let mut written = Seen::default();
        for (_, steps) in kept {
            for step in steps {
                if let Step::Write { key, value } = *step {
                    written.insert((key, value));
                }
            }
        }
        // Thin air stays thin air: such reads demand a writer whoever is left out.
        let whole: Option<Seen> = (self.options.unwritten == Unwritten::Refuse).then(|| {
            let steps = self.whole.iter().flat_map(|t| &t.steps);
            steps
                .filter_map(|step| match *step {
                    Step::Write { key, value } => Some((key, value)),
                    Step::Read { .. } => None,
                })
                .collect()
        });
        let known = |step: &Step| match *step {
            Step::Write { .. } | Step::Read { value: None, .. } => true,
            Step::Read { key, value: Some(value) } => {
                written.contains(&(key, value)) || whole.as_ref().is_some_and(|w| !w.contains(&(key, value)))
            }
        };
        let copy = |(at, steps): &(usize, Vec<Step>)| {
            let steps = steps.iter().copied().filter(known).collect();
            Transaction { steps, ..self.whole[*at].clone_head() }
        };
        (kept.iter().map(copy).collect(), kept.iter().map(|(at, _)| *at).collect())
    }

    fn refused(&mut self, kept: &Kept) -> Option<Vec<usize>> {
        let cost: usize = kept.iter().map(|(_, steps)| steps.len() + 1).sum();
        if self.looks < cost as u64 {
            self.looks = 0;
            return None;
        }
        self.looks -= cost as u64;
        let (part, indices) = self.part(kept);
        match decide::check(&part, self.options) {
            Verdict::Invalid(anomalies) => {
                Some(anomalies.iter().flat_map(|a| a.transactions.iter().map(|at| indices[*at])).collect())
            }
            Verdict::Valid | Verdict::Unknown(_) => None,
        }
    }

    fn cut(&mut self, anomalies: &[Anomaly]) -> Kept {
        let whole = |at: usize| (at, self.whole[at].steps.clone());
        let mut kept: Kept = (0..self.whole.len()).map(whole).collect();
        // What the anomaly names, with those whom it read from and who wrote the same: often
        // that alone is refused.
        let mut named: Vec<usize> =
            anomalies.first().map_or(Vec::new(), |anomaly| anomaly.transactions.clone());
        for _ in 0..3 {
            let near = self.near(&named);
            let part: Kept = near.iter().map(|at| whole(*at)).collect();
            if part.len() < kept.len() && self.refused(&part).is_some() {
                kept = part;
                break;
            }
            named = near;
        }
        self.halve(&mut kept);
        self.single_steps(&mut kept);
        kept
    }

    /// `named`, and all that share a value with them.
    fn near(&self, named: &[usize]) -> Vec<usize> {
        let mut values = Seen::default();
        let value = |step: &Step| match *step {
            Step::Write { key, value } | Step::Read { key, value: Some(value) } => Some((key, value)),
            Step::Read { value: None, .. } => None,
        };
        for at in named {
            values.extend(self.whole[*at].steps.iter().filter_map(value));
        }
        let shares = |at: &usize| {
            self.whole[*at].steps.iter().filter_map(value).any(|v| values.contains(&v)) || named.contains(at)
        };
        (0..self.whole.len()).filter(shares).collect()
    }

    /// Leaves out halves, quarters, ... single transactions, until nothing more goes.
    fn halve(&mut self, kept: &mut Kept) {
        let mut piece = kept.len().div_ceil(2);
        while piece > 0 && self.looks > 0 {
            let mut at = 0;
            let mut smaller = false;
            while at < kept.len() {
                let mut rest = kept.clone();
                rest.drain(at..(at + piece).min(kept.len()));
                if !rest.is_empty() && self.refused(&rest).is_some() {
                    *kept = rest;
                    smaller = true;
                } else {
                    at += piece;
                }
            }
            if !(smaller && piece == 1) {
                piece /= 2;
            }
        }
    }

    fn single_steps(&mut self, kept: &mut Kept) {
        loop {
            let mut smaller = false;
            for at in 0..kept.len() {
                let mut step = kept[at].1.len();
                while step > 0 {
                    step -= 1;
                    let removed = kept[at].1.remove(step);
                    let read = |other: &Step| match (removed, *other) {
                        (Step::Write { key, value }, Step::Read { key: k, value: Some(v) }) => {
                            (key, value) == (k, v)
                        }
                        _ => false,
                    };
                    let needed = kept.iter().any(|(_, steps)| steps.iter().any(read));
                    if needed || self.refused(kept).is_none() {
                        kept[at].1.insert(step, removed);
                    } else {
                        smaller = true;
                    }
                }
            }
            kept.retain(|(_, steps)| !steps.is_empty());
            if !smaller || self.looks == 0 {
                return;
            }
        }
    }
}

impl Transaction {
    /// Everything but the steps.
    fn clone_head(&self) -> Self {
        Self { process: self.process, call: self.call, ret: self.ret, status: self.status, steps: Vec::new() }
    }
}

/// Puts the indices of the whole for those of the part.
fn rename(anomaly: &mut Anomaly, indices: &[usize], part: &[Transaction]) {
    let mut text = String::with_capacity(anomaly.text.len());
    let mut rest = anomaly.text.as_str();
    while let Some(at) = rest.find('T') {
        let (before, after) = rest.split_at(at + 1);
        text.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        match after[..digits].parse::<usize>().ok().and_then(|number| indices.get(number)) {
            Some(index) => text.push_str(&index.to_string()),
            None => text.push_str(&after[..digits]),
        }
        rest = &after[digits..];
    }
    text.push_str(rest);
    // The rest of the proof: transactions that the anomaly leans on.
    let named = anomaly.transactions.clone();
    let mut first = true;
    for (at, transaction) in part.iter().enumerate().filter(|(at, _)| !named.contains(at)) {
        if first {
            text.push_str("\n  which follows with");
            first = false;
        }
        text.push_str(&format!("\n  T{} = {}", indices[at], super::words::transaction(transaction)));
        anomaly.transactions.push(at);
    }
    for at in &mut anomaly.transactions {
        *at = indices[*at];
    }
    anomaly.text = text;
}
