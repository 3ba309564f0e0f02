//! What a run is worth: promises kept or broken, and the figures.
//!
//! | outcome | means |
//! |---|---|
//! | sound | every promise was judged and kept, every nemesis fired |
//! | broken | at least one promise was not kept, and here is the witness |
//! | no evidence | nothing was found broken, but something was not judged, or a nemesis never fired, or the link was late |

use super::last::Kept;
use super::run::{Order, Ran, Struck};
use dwcp_check::append::{Level, check, transactions};
use dwcp_check::history::{History, Interner};
use dwcp_env::{Duration, Instant};
use dwcp_workload::judge::{self, Broken};
use dwcp_workload::{Log, Outcome, Use, converged};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A promise and whether it was kept.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) promise: &'static str,
    pub(super) broken: Option<Broken>,
}

/// Everything that is known of a run at its end.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) judged: Vec<Judged>,
    /// Why the run proves nothing, where it is not broken.
    pub(super) doubts: Vec<String>,
    pub(super) figures: Figures,
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) ok: usize,
    pub(super) failed: usize,
    pub(super) unknown: usize,
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) worst: Duration,
    /// Acknowledged writes that are not there: the RPO, in writes.
    pub(super) lost: u64,
    /// The longest time without an acknowledged write from each window's begin to the next one's: the RTO.
    pub(super) gaps: Vec<Duration>,
    /// What nemeses did, over all windows.
    pub(super) evidence: BTreeMap<&'static str, u64>,
}

impl Verdict {
    pub(super) fn broken(&self) -> impl Iterator<Item = (&'static str, &Broken)> {
        let certain = |j: &'_ Judged| j.broken.as_ref().is_some_and(|b| b.certain);
        self.judged.iter().filter(move |j| certain(j)).filter_map(|j| Some((j.promise, j.broken.as_ref()?)))
    }
    pub(super) fn is_broken(&self) -> bool {
        self.broken().next().is_some()
    }
    pub(super) fn is_sound(&self) -> bool {
        !self.is_broken() && self.doubts.is_empty()
    }
    /// In a word.
    pub(super) fn word(&self) -> &'static str {
        match (self.is_broken(), self.is_sound()) {
            (true, _) => "broken",
            (_, true) => "sound",
            _ => "no evidence",
        }
    }
    /// As one document.
    pub(super) fn json(&self, order: &Order, ran: &Ran) -> Value {
        let f = &self.figures;
        let ms = |d: Duration| d.as_micros() as f64 / 1_000.0;
        let windows: Vec<Value> = ran.struck.iter().zip(&f.gaps).map(|(s, gap)| {
            json!({ "nemesis": s.nemesis, "act": s.act, "did": s.words, "begin_ms": ms(s.begin.since(Instant::ZERO)),
                    "end_ms": ms(s.end.since(Instant::ZERO)), "evidence": evidence(s), "rto_ms": ms(*gap) })
        }).collect();
        let judged: Vec<Value> = self.judged.iter().map(|j| {
            let state = match &j.broken {
                None => "kept",
                Some(b) if b.certain => "broken",
                Some(_) => "unknown",
            };
            json!({ "promise": j.promise, "state": state, "detail": j.broken.as_ref().map(|b| &b.detail) })
        }).collect();
        json!({
            "verdict": self.word(), "workload": order.kind.name(),
            "nemeses": order.nemeses.iter().map(|n| n.card().name).collect::<Vec<_>>(),
            "seed": order.seed.0, "nodes": order.nodes, "clients": order.clients,
            "seconds": ran.lasted.as_millis() as f64 / 1_000.0,
            "operations": { "ok": f.ok, "failed": f.failed, "unknown": f.unknown, "per_second": f.per_second },
            "latency_ms": { "p50": ms(f.p50), "p99": ms(f.p99), "worst": ms(f.worst) },
            "rto_ms": f.gaps.iter().max().map(|g| ms(*g)), "rpo_writes": f.lost,
            "link_late_p99_us": ran.link_late.map(|l| l.as_micros() as u64), "evidence": f.evidence, "windows": windows, "judged": judged, "doubts": self.doubts,
        })
    }
}

fn evidence(struck: &Struck) -> Value {
    struck
        .evidence
        .iter()
        .map(|(what, n)| ((*what).to_owned(), json!(n)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Judges a run.
pub(super) fn judge(order: &Order, ran: &Ran, history: &History) -> Verdict {
    let mut judged = Vec::new();
    let mut say = |promise, broken: Option<Broken>| judged.push(Judged { promise, broken });
    match order.kind {
        Use::Register => say("each key is linearizable", judge::linearizable(&ran.log).err()),
        Use::ListAppend => {
            say("each list is linearizable", judge::lists(&ran.log).err());
            say("transactions are strictly serializable", serializable(history));
        }
        Use::Bank => say("the sum never changes", judge::bank(&ran.log).err()),
        Use::Lock => {
            say("a lock has one holder, and nothing passes under an old token", judge::locks(&ran.log).err())
        }
        // Only a simulation shows the log by which it is judged.
        Use::Store => {}
        // All that clients were told must show in what the nodes hold at the end.
        Use::Eventual | Use::Collections | Use::Documents | Use::Checkpoints => {}
        Use::Watch => say("watchers see every change once, in order", judge::watches(&ran.log).err()),
    }
    let mut lost = 0;
    let counted =
        |n: u64, first: Option<Broken>| first.map(|b| Broken { detail: with_count(n, b.detail), ..b });
    match &ran.kept {
        Some(Kept::Strong(past)) => {
            let (n, first) = judge::acknowledged(&ran.log, past);
            lost = n;
            say("what was acknowledged is there", counted(n, first));
            say("what is there was written once", judge::exactly_once(&ran.log, past).err());
        }
        Some(Kept::Eventual(contents)) => {
            let (n, first) = converged::eventual(&ran.log, contents, &converged::Excuses::NONE);
            lost = n;
            let promise =
                "what was acknowledged is there, what was removed is gone, every increment counts once";
            say(promise, counted(n, first));
        }
        None => {}
    }
    if ran.kept.is_some() {
        say("all nodes hold the same", at_end(ran, &ran.differ));
    }
    say("healed, every node serves", at_end(ran, &ran.unhealed));
    say("no process ends by itself", at_end(ran, &ran.surprises));
    let figures = figures(ran, lost);
    let doubts = doubts(order, ran, &judged, &figures);
    Verdict { judged, doubts, figures }
}

fn with_count(lost: u64, detail: String) -> String {
    if lost <= 1 { detail } else { format!("{lost} acknowledged writes are lost, the first: {detail}") }
}

fn at_end(ran: &Ran, said: &[String]) -> Option<Broken> {
    let detail = (!said.is_empty()).then(|| said.join("; "))?;
    Some(Broken { detail, at: Instant::ZERO + ran.lasted, certain: true })
}

fn serializable(history: &History) -> Option<Broken> {
    let uncertain = |detail| Broken { detail, at: Instant::ZERO, certain: false };
    match transactions(history, &mut Interner::default()) {
        Ok(transactions) => {
            let worst = check(&transactions, Level::StrictSerializable).into_iter().next()?;
            Some(Broken { detail: worst.to_string(), at: Instant::ZERO, certain: true })
        }
        Err(e) => Some(uncertain(e.to_string())),
    }
}

fn doubts(order: &Order, ran: &Ran, judged: &[Judged], figures: &Figures) -> Vec<String> {
    let mut doubts = ran.doubts.clone();
    for j in judged {
        if let Some(b) = j.broken.as_ref().filter(|b| !b.certain) {
            doubts.push(format!("{}: {}", j.promise, b.detail));
        }
    }
    if ran.kept.is_none() {
        doubts.push("what the nodes hold could not be read: durability was not judged".into());
    }
    if figures.ok == 0 {
        doubts.push("no operation succeeded".into());
    }
    for nemesis in &order.nemeses {
        let name = nemesis.card().name;
        let mine = || ran.struck.iter().filter(|s| s.window_of == *nemesis);
        if mine().next().is_none() {
            doubts.push(format!("{name} had no window; give it more time"));
        } else if mine().all(|s| s.evidence.iter().all(|(_, n)| *n == 0)) {
            doubts.push(format!("{name} never fired: {}", nemesis.card().proof));
        }
    }
    doubts
}

fn figures(ran: &Ran, lost: u64) -> Figures {
    let log = &ran.log;
    let of = |outcome| log.records.iter().filter(|r| r.outcome == outcome && r.call != r.ret).count();
    let mut took: Vec<Duration> = log
        .records
        .iter()
        .filter(|r| r.outcome == Outcome::Ok && r.call != r.ret)
        .map(|r| r.ret.since(r.call))
        .collect();
    took.sort_unstable();
    let quantile =
        |q: usize| took.get(took.len().saturating_sub(1) * q / 100).copied().unwrap_or(Duration::ZERO);
    let mut evidence = BTreeMap::new();
    for (what, n) in ran.struck.iter().flat_map(|s| &s.evidence) {
        *evidence.entry(*what).or_insert(0) += n;
    }
    let ok = of(Outcome::Ok);
    Figures {
        ok,
        failed: of(Outcome::Fail),
        unknown: of(Outcome::Info),
        per_second: ok as f64 * 1_000.0 / ran.lasted.as_millis().max(1) as f64,
        p50: quantile(50),
        p99: quantile(99),
        worst: quantile(100),
        lost,
        gaps: gaps(log, &ran.struck, Instant::ZERO + ran.lasted),
        evidence,
    }
}

fn gaps(log: &Log, struck: &[Struck], end: Instant) -> Vec<Duration> {
    let mut times: Vec<Instant> = log.acknowledged().map(|r| r.ret).collect();
    times.sort_unstable();
    let next = struck.iter().skip(1).map(|s| s.begin).chain([end]);
    struck.iter().zip(next).map(|(s, until)| longest_gap(&times, s.begin, until)).collect()
}

/// The longest time without one of `times` (sorted), from `from` to `until`.
fn longest_gap(times: &[Instant], from: Instant, until: Instant) -> Duration {
    let inside = &times[times.partition_point(|t| *t < from)..times.partition_point(|t| *t <= until)];
    let edges = std::iter::once(&from).chain(inside);
    edges.zip(inside.iter().chain([&until])).map(|(a, b)| b.since(*a)).max().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_measured_to_the_edges_of_its_window() {
        let at = |s| Instant::ZERO + Duration::secs(s);
        let times = [at(1), at(2), at(9)];
        assert_eq!(longest_gap(&times, at(0), at(10)), Duration::secs(7));
        assert_eq!(longest_gap(&times, at(3), at(5)), Duration::secs(2));
        assert_eq!(longest_gap(&[], at(3), at(5)), Duration::secs(2));
    }
}
