//! What should have come out, from what writers meant and when they truly wrote. It looks at no policy, no clock of a region and no merge.
//!
//! | field | right is |
//! |---|---|
//! | one value | what the highest in rank wrote last, seen through all resolutions by policy; of what was written within a second of that, any |
//! | addresses | all that were added, without those that were removed |
//! | restarts | all of them |
//! | notes | every word that someone added, once |
//! | where it runs, its state, who holds an address | the highest epoch |
//! | who has a name | the lowest of those who took it; the others live on under another |
//! | deleted here, worked on there | what would have come of it had either come first, below |
//!
//! **A deletion beside work that it did not see.** Had the two come one after the other, in most cases both orders end alike: who labels, resizes,
//! stops, moves to another host, gives an address or a name to a machine that is deleted afterwards has no say in that, and who comes
//! after the deletion is told that there is no such machine. So the deletion stands. Three things are otherwise; that ranks prevail, and that nobody is
//! asked over ranks, is a choice and does not follow from that:
//!
//! * *Someone wants it*: started, when it was off; handed to another team. Who deletes a machine that was off, or one's own, would have
//!   thought again; who wants it would have made another. The orders differ: only a person knows. The machine stays until they have said so.
//! * *Someone of a higher rank works on it.* Who is called at night is in the middle of it: the machine stays, and may be deleted tomorrow. A program
//!   that makes fewer of many takes another than the one which a person has just touched.
//! * *Someone of a lower rank wants it*: a person's deletion is not undone by a program.
//!
//! A deletion that saw the work is no conflict with it; work that saw the deletion isn't either.

use crate::fleet::{Act, Decided, Fleet, Meant, Told};
use dwcp_conflict::{Class, Outcome, Place, Sibling, Value};
use dwcp_crdt::Dot;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What was written within so many milliseconds was written at the same time: clocks stray by 400 ms either way.
const AT_ONCE: u64 = 1_000;

/// What the oracle says of a resolution.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Verdict {
    /// As it was meant, without a person.
    Right,
    /// Not as it was meant: someone would write it again.
    Wrong(String),
    /// A person was asked.
    Queued,
}

/// Judges an outcome at a place. `recent` are all writes there since everyone had heard everything; `base` is what was there then; it was settled
/// with what region `r` had.
pub(crate) fn judge(
    fleet: &Fleet,
    place: &Place,
    siblings: &[Sibling],
    recent: &[Dot],
    base: Option<&Value>,
    outcome: &Outcome,
    r: usize,
) -> Verdict {
    if let Outcome::Asked { .. } = outcome {
        return Verdict::Queued;
    }
    // What settled earlier conflicts meant nothing of its own.
    let all: Vec<&Told> =
        recent.iter().map(|dot| &fleet.truth[dot]).filter(|t| t.settles.is_none()).collect();
    let mut own = Vec::new();
    siblings.iter().for_each(|s| meant_by(fleet, s.dot, &mut own));
    let told: Vec<&Told> = own.iter().map(|(_, t)| *t).collect();
    let got = outcome.shown();
    if place.pointer.as_str() == "/lifecycle" {
        let want = life(fleet, place, &own, r).0;
        let gone = got == Some(&"deleted".into());
        return match want {
            Want::Goes if gone => Verdict::Right,
            Want::Stays if !gone => Verdict::Right,
            _ => Verdict::Wrong(format!("{place}: {got:?}, and right is: {want:?}")),
        };
    }
    let right = match &told[0].meant {
        Meant::In(_) | Meant::Out(_) => set(&all, base) == items(got),
        Meant::More(_) => int(got) == int(base) + all.iter().map(|t| more(t)).sum::<i64>(),
        Meant::Word(_) => words(&all, base, got),
        Meant::Epoch(_) => {
            let highest = told.iter().max_by_key(|t| epoch(t)).map(|t| &t.value);
            got == highest
        }
        Meant::Set { .. } => ranked(&told, got),
        Meant::Gone { .. } | Meant::Stays => unreachable!("written at /lifecycle only"),
    };
    if right {
        return Verdict::Right;
    }
    let wrote: Vec<String> =
        told.iter().map(|t| format!("{} at {} ({:?})", t.value, t.at, t.meant)).collect();
    Verdict::Wrong(format!("{place}: {got:?} of {}", wrote.join(", ")))
}

/// What people and programs wrote that a write stands for: itself, or what a policy settled with it.
fn meant_by<'f>(fleet: &'f Fleet, dot: Dot, out: &mut Vec<(Dot, &'f Told)>) {
    let told = &fleet.truth[&dot];
    match told.settles {
        Some(Decided::Policy) => told.seen.iter().for_each(|d| meant_by(fleet, *d, out)),
        _ if out.iter().any(|(known, _)| *known == dot) => {}
        _ => out.push((dot, told)),
    }
}

/// What is to become of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Want {
    Stays,
    Asked,
    Goes,
}

/// What is to become of a machine that some deleted, and beside what: the header says why.
fn life(fleet: &Fleet, place: &Place, own: &[(Dot, &Told)], r: usize) -> (Want, String) {
    let none = Vec::new();
    let acts = fleet.acts.get(&*place.key).unwrap_or(&none);
    let mut verdict = (Want::Stays, String::new());
    for (dot, told) in own {
        let Meant::Gone { rank } = told.meant else { continue };
        let saw = &fleet.saw[dot];
        let unseen = |a: &&Act| fleet.has(r, a.dot) && !saw.contains(a.dot) && !a.saw.contains(*dot);
        let unseen: Vec<&Act> = acts.iter().filter(unseen).collect();
        let wanted = unseen.iter().any(|a| a.rank == rank && a.wants);
        let want = match unseen.iter().map(|a| a.rank).max() {
            Some(highest) if highest > rank => Want::Stays,
            _ if wanted => Want::Asked,
            _ => Want::Goes,
        };
        let strongest = unseen.iter().max_by_key(|a| (a.rank, a.wants));
        let beside = strongest.map_or_else(
            || "deleted by several".to_owned(),
            |a| {
                let by = ["a host", "a program", "an operator", "who is on call"];
                format!("deleted by {}; {} by {}", by[rank as usize], a.what, by[a.rank as usize])
            },
        );
        if verdict.1.is_empty() || want > verdict.0 {
            verdict = (want, beside);
        }
    }
    verdict
}

/// What is to become of a machine by a deletion alone, beside all that it did not see; nothing if it saw everything.
pub(crate) fn alone(fleet: &Fleet, dot: Dot) -> Option<(Want, String)> {
    let told = &fleet.truth[&dot];
    let (want, beside) = life(fleet, &told.place, &[(dot, told)], 0);
    (!beside.starts_with("deleted by several")).then_some((want, beside))
}

/// The deletions that a meeting is about, seen through what policies settled.
pub(crate) fn deletions(fleet: &Fleet, siblings: &[Sibling]) -> Vec<Dot> {
    let mut own = Vec::new();
    siblings.iter().for_each(|s| meant_by(fleet, s.dot, &mut own));
    own.into_iter().filter(|(_, t)| matches!(t.meant, Meant::Gone { .. })).map(|(dot, _)| dot).collect()
}

/// What a conflict of class C3 is between.
pub(crate) fn between(fleet: &Fleet, place: &Place, siblings: &[Sibling], r: usize) -> String {
    if &*place.kind == "name" {
        return "a name that two took".into();
    }
    let mut own = Vec::new();
    siblings.iter().for_each(|s| meant_by(fleet, s.dot, &mut own));
    life(fleet, place, &own, r).1
}

fn ranked(own: &[&Told], got: Option<&Value>) -> bool {
    let rank = |t: &Told| if let Meant::Set { rank } = t.meant { rank } else { 0 };
    let top = own.iter().map(|t| rank(t)).max();
    let last = own.iter().filter(|t| Some(rank(t)) == top).map(|t| t.at).max().unwrap_or(0);
    own.iter().any(|t| Some(rank(t)) == top && t.at + AT_ONCE >= last && Some(&t.value) == got)
}

fn items(v: Option<&Value>) -> Vec<Value> {
    let mut all = v.map_or(Vec::new(), |v| v.items().to_vec());
    all.sort();
    all
}

fn set(all: &[&Told], base: Option<&Value>) -> Vec<Value> {
    let mut out = items(base);
    for t in all {
        if let Meant::In(v) = &t.meant {
            out.push(v.clone());
        }
    }
    let removed = |v: &Value| all.iter().any(|t| matches!(&t.meant, Meant::Out(o) if o == v));
    out.retain(|v| !removed(v));
    out.sort();
    out.dedup();
    out
}

const fn more(t: &Told) -> i64 {
    if let Meant::More(n) = t.meant { n } else { 0 }
}
const fn epoch(t: &Told) -> i64 {
    if let Meant::Epoch(n) = t.meant { n } else { 0 }
}
fn int(v: Option<&Value>) -> i64 {
    if let Some(Value::Int(n)) = v { *n } else { 0 }
}

fn words(all: &[&Told], base: Option<&Value>, got: Option<&Value>) -> bool {
    let text = |v: Option<&Value>| if let Some(Value::Text(t)) = v { t.to_string() } else { String::new() };
    let (base, got) = (text(base), text(got));
    let mut want: Vec<&str> = base.split_whitespace().collect();
    want.extend(
        all.iter().filter_map(|t| if let Meant::Word(w) = &t.meant { Some(w.as_str()) } else { None }),
    );
    let mut have: Vec<&str> = got.split_whitespace().collect();
    want.sort_unstable();
    have.sort_unstable();
    want == have
}

/// Counts of one class.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Count {
    pub(crate) all: u64,
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) queued: u64,
}

impl Count {
    const fn count(&mut self, verdict: &Verdict) {
        self.all += 1;
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::Queued => self.queued += 1,
            Verdict::Wrong(_) => self.wrong += 1,
        }
    }
    const fn add(&mut self, other: Self) {
        self.all += other.all;
        self.right += other.right;
        self.wrong += other.wrong;
        self.queued += other.queued;
    }
}

/// What came of some seeds.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) fleets: u64,
    pub(crate) classes: BTreeMap<Class, Count>,
    /// Of class C3, by what it was between.
    pub(crate) between: BTreeMap<String, Count>,
    pub(crate) wrong_told: Vec<String>,
    /// Siblings that said the same: no conflict.
    pub(crate) alike: u64,
    /// Conflicts of which it could not be told what was there before, and of which it could.
    pub(crate) bases: [u64; 2],
    pub(crate) writes: u64,
    pub(crate) cuts: u64,
    pub(crate) arrivals: (u64, u64),
    pub(crate) losers: u64,
    pub(crate) recovered: u64,
    /// Writes that are nowhere: not seen by who wrote after, not live, not in the audit.
    pub(crate) silent: u64,
    /// Deletions that met nobody's word though they had not seen somebody's work: as they should come out, and not.
    pub(crate) unmet: u64,
    pub(crate) overrun: u64,
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, class: Class, between: Option<String>, verdict: Verdict) {
        let of_class = self.classes.entry(class).or_default();
        of_class.count(&verdict);
        if let Some(between) = between {
            self.between.entry(between).or_default().count(&verdict);
        }
        if let Verdict::Wrong(told) = verdict {
            self.wrong_told.push(told);
        }
    }
    pub(crate) fn add(&mut self, other: Self) {
        for (class, c) in other.classes {
            self.classes.entry(class).or_default().add(c);
        }
        for (between, c) in other.between {
            self.between.entry(between).or_default().add(c);
        }
        self.wrong_told.extend(other.wrong_told);
        self.fleets += other.fleets;
        self.alike += other.alike;
        self.bases[0] += other.bases[0];
        self.bases[1] += other.bases[1];
        self.writes += other.writes;
        self.cuts += other.cuts;
        self.arrivals.0 += other.arrivals.0;
        self.arrivals.1 += other.arrivals.1;
        self.losers += other.losers;
        self.recovered += other.recovered;
        self.silent += other.silent;
        self.unmet += other.unmet;
        self.overrun += other.overrun;
        self.records += other.records;
        self.record_bytes += other.record_bytes;
    }
    fn total(&self) -> Count {
        let mut t = Count::default();
        for c in self.classes.values() {
            t.add(*c);
        }
        t
    }
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let between = self.between.iter().map(|(what, c)| (format!("  {what}"), *c));
        let mut line = |s: String| writeln!(out, "{s}").expect("a string takes all");
        line(format!(
            "{} fleets, {} cuts, {} writes, {} arrivals of which {} stood beside something, {} siblings that said the same",
            self.fleets, self.cuts, self.writes, self.arrivals.0, self.arrivals.1, self.alike
        ));
        line(format!(
            "{:<62} {:>9} {:>14} {:>8} {:>8}",
            "class", "conflicts", "right, alone", "wrong", "queued"
        ));
        for (name, c) in self.rows().into_iter().chain(between) {
            let share = |n: u64| 100.0 * n as f64 / c.all.max(1) as f64;
            line(format!(
                "{name:<62} {:>9} {:>7} {:>5.1}% {:>8} {:>4} {:>4.1}%",
                c.all,
                c.right,
                share(c.right),
                c.wrong,
                c.queued,
                share(c.queued)
            ));
        }
        line(format!("what was there before: known {}, not known {}", self.bases[1], self.bases[0]));
        line(format!("losers {}, recovered {}; lost silently {}", self.losers, self.recovered, self.silent));
        line(format!(
            "deletions beside work that left no word: as it should be {}, not so {}",
            self.unmet, self.overrun
        ));
        line(format!("records {}, {} bytes each", self.records, self.record_bytes / self.records.max(1)));
        out
    }
    pub(crate) fn json(&self) -> String {
        let one = |name: &str, c: &Count| {
            format!(
                r#""{name}":{{"all":{},"right":{},"wrong":{},"queued":{}}}"#,
                c.all, c.right, c.wrong, c.queued
            )
        };
        let mut classes: Vec<String> = self.classes.iter().map(|(class, c)| one(class.name(), c)).collect();
        classes.push(one("all", &self.total()));
        format!(
            r#"{{"fleets":{},"cuts":{},"writes":{},"alike":{},{},"losers":{},"recovered":{},"silent":{},"records":{},"record_bytes":{}}}"#,
            self.fleets,
            self.cuts,
            self.writes,
            self.alike,
            classes.join(","),
            self.losers,
            self.recovered,
            self.silent,
            self.records,
            self.record_bytes
        )
    }
    /// What is promised of them, as far as it is not so.
    pub(crate) fn broken(&self) -> Vec<String> {
        let t = self.total();
        let mut claims = vec![
            (
                t.all > 0 && self.cuts > 0,
                format!("something happened: {} conflicts, {} cuts", t.all, self.cuts),
            ),
            (t.wrong == 0, format!("none to be written again: {}", t.wrong)),
            (self.overrun == 0, format!("none deleted beside work that left no word: {}", self.overrun)),
            (
                self.recovered == self.losers,
                format!("all losers recovered: {} of {}", self.recovered, self.losers),
            ),
            (self.silent == 0, format!("nothing lost silently: {}", self.silent)),
        ];
        for (name, c) in self.rows() {
            claims.push((
                c.right * 100 >= c.all * 97,
                format!("97 % right without a person: {} of {} ({name})", c.right, c.all),
            ));
            claims.push((
                c.queued * 100 <= c.all * 3,
                format!("3 % queued at most: {} of {} ({name})", c.queued, c.all),
            ));
        }
        claims.into_iter().filter(|(holds, _)| !holds).map(|(_, claim)| claim).collect()
    }
    /// Each class, and all.
    fn rows(&self) -> Vec<(String, Count)> {
        let classes = self.classes.iter().map(|(class, c)| (class.to_string(), *c));
        classes.chain([("all".into(), self.total())]).collect()
    }
}
