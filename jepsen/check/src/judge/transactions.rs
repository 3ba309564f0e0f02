//! Transactions: the level asked for, and the strongest that holds.

use super::{Ask, Model, explain};
use crate::anomaly::{Anomaly, Kind};
use crate::append;
use crate::history::{History, HistoryError, Interner};
use crate::level::Level;
use crate::report::{Arrow, Finding, Held, Outcome, Report, Shown};
use crate::rw::{self, Budget, Options, Unwritten, Verdict};

/// What one level answers, by one checker or the other.
type Judged = (Outcome, Vec<Finding>, Option<String>);

pub(super) fn list_append(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let transactions = append::transactions(history, &mut names)?;
    let shown = |at: usize| {
        let t = &transactions[at];
        let text = explain(&names, &append::in_words(t));
        let ret = (t.ret != u64::MAX).then_some(t.ret as usize);
        Shown { name: format!("T{at}"), ..super::shown(history, t.call as usize, ret, text) }
    };
    let judge = |level: Level, _: bool| {
        let found = append::check(&transactions, level);
        let repeated = found.iter().find(|anomaly| anomaly.kind == Kind::RepeatedAppend);
        if let Some(anomaly) = repeated {
            return (Outcome::Unknown, Vec::new(), Some(explain(&names, &anomaly.text)));
        }
        let outcome = if found.is_empty() { Outcome::Valid } else { Outcome::Invalid };
        (outcome, findings(&found, &names, &shown), None)
    };
    let level = ask.level.unwrap_or(Level::StrictSerializable);
    Ok(ladder(Model::ListAppend, transactions.len(), level, &Level::ALL, judge))
}

fn findings(anomalies: &[Anomaly], names: &Interner, shown: &dyn Fn(usize) -> Shown) -> Vec<Finding> {
    let arrow =
        |(from, to, label): &(usize, usize, String)| Arrow { from: *from, to: *to, label: label.clone() };
    let finding = |anomaly: &Anomaly| Finding {
        name: anomaly.name(),
        text: explain(names, &anomaly.text),
        operations: anomaly.transactions.iter().map(|at| shown(*at)).collect(),
        arrows: anomaly.edges.iter().map(arrow).collect(),
    };
    anomalies.iter().map(finding).collect()
}

pub(super) fn rw_register(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let transactions = rw::transactions(history, ask.initial.as_ref(), &mut names)?;
    let unwritten = ask.unwritten.unwrap_or(Unwritten::Ignore);
    let options = |level| Options { level, unwritten, sessions: false, budget: budget(ask) };
    let shown = |at: usize| {
        let t = &transactions[at];
        let text = explain(&names, &rw::in_words(t));
        let ret = (t.ret != u64::MAX).then_some(t.ret as usize);
        Shown { name: format!("T{at}"), ..super::shown(history, t.call as usize, ret, text) }
    };
    let judge = |level: Level, full: bool| registers(&transactions, &options(level), full, &names, &shown);
    let level = ask.level.unwrap_or(Level::StrictSerializable);
    let mut report = ladder(Model::RwRegister, transactions.len(), level, &Level::ALL, judge);
    if unwritten == Unwritten::Ignore && report.outcome == Outcome::Valid {
        let strict = Options { unwritten: Unwritten::Refuse, ..options(Level::ReadCommitted) };
        if let Verdict::Invalid(found) = rw::verdict(&transactions, &strict)
            && let Some(thin) = found.iter().find(|anomaly| anomaly.kind == Kind::ThinAir)
        {
            report.notes.push(format!(
                "{}; its writer is taken to be outside the history, as Elle does (--unwritten refuse holds it against the system)",
                explain(&names, &thin.text)
            ));
        }
    }
    Ok(report)
}

fn budget(ask: &Ask) -> Budget {
    let default = Budget::default();
    Budget { steps: default.steps.saturating_mul(ask.effort()), table: default.table }
}

fn registers(
    transactions: &[rw::Transaction],
    options: &Options,
    full: bool,
    names: &Interner,
    shown: &dyn Fn(usize) -> Shown,
) -> Judged {
    let verdict = if full { rw::check(transactions, options) } else { rw::verdict(transactions, options) };
    match verdict {
        Verdict::Valid => (Outcome::Valid, Vec::new(), None),
        Verdict::Unknown(why) => (Outcome::Unknown, Vec::new(), Some(explain(names, &why))),
        Verdict::Invalid(found) => (Outcome::Invalid, findings(&found, names, shown), None),
    }
}

/// Levels that sessions without times can tell apart; sessions count at each.
const BY_SESSION: [Level; 6] = [
    Level::Serializable,
    Level::SnapshotIsolation,
    Level::Causal,
    Level::ReadAtomic,
    Level::ReadCommitted,
    Level::ReadUncommitted,
];

pub(super) fn sessions(transactions: &[rw::Transaction], ask: &Ask) -> Report {
    let asked = ask.level.unwrap_or(Level::Serializable);
    // With sessions in every level the strong-session forms are the plain ones.
    let level = match asked {
        Level::StrongSession => Level::Serializable,
        Level::StrongSessionSnapshotIsolation => Level::SnapshotIsolation,
        level => level,
    };
    let names = Interner::default();
    let unwritten = ask.unwritten.unwrap_or(Unwritten::Refuse);
    let options = |level| Options { level, unwritten, sessions: true, budget: budget(ask) };
    let shown = |at: usize| {
        let t = &transactions[at];
        Shown {
            name: format!("T{at}"),
            lane: format!("session {}", t.process),
            call: t.call,
            ret: Some(t.ret),
            text: rw::in_words(t),
            certain: true,
            line: None,
        }
    };
    if matches!(level, Level::StrictSerializable | Level::StrongSnapshotIsolation) {
        let mut report = super::report(Model::RwRegister, "", transactions.len(), Vec::new());
        report.outcome = Outcome::Unknown;
        report.claim =
            format!("{level} needs real time, which this format does not record; ask for serializable");
        return report;
    }
    let judge = |level: Level, full: bool| registers(transactions, &options(level), full, &names, &shown);
    let mut report = ladder(Model::RwRegister, transactions.len(), level, &BY_SESSION, judge);
    report.notes.push("the order within each session counts at every level".to_owned());
    report
}

/// Judges the level asked for; if it does not hold, all others that could.
fn ladder(
    model: Model,
    count: usize,
    asked: Level,
    levels: &[Level],
    judge: impl Fn(Level, bool) -> Judged,
) -> Report {
    let (outcome, findings, why) = judge(asked, true);
    let mut held = vec![Held { level: asked, outcome }];
    if outcome != Outcome::Valid {
        for &level in levels.iter().filter(|level| **level != asked) {
            let answer = if held.iter().any(|h| h.outcome == Outcome::Valid && h.level.implies(level)) {
                Outcome::Valid
            } else if held.iter().any(|h| h.outcome == Outcome::Invalid && level.implies(h.level)) {
                Outcome::Invalid
            } else {
                judge(level, false).0
            };
            held.push(Held { level, outcome: answer });
        }
        held.sort_by_key(|h| levels.iter().position(|level| *level == h.level));
    }
    let mut report = super::report(model, asked.name(), count, findings);
    report.outcome = outcome;
    report.claim = match outcome {
        Outcome::Valid => format!("{count} transactions are {asked}"),
        Outcome::Invalid => format!("{count} transactions are not {asked}"),
        Outcome::Unknown => format!("whether {count} transactions are {asked}: {}", why.unwrap_or_default()),
    };
    report.levels = held;
    if let Some(strongest) = report.strongest().filter(|_| outcome == Outcome::Invalid) {
        report.claim.push_str(&format!("; the strongest level that holds is {strongest}"));
    }
    report
}
