//! Whether a log keeps the store's promises.
//!
//! | judge | promise |
//! |---|---|
//! | [`linearizable`] | each key behaves as one register would (Herlihy and Wing 1990) |
//! | [`lists`] | transactions over lists have one order that agrees with real time |
//! | [`bank`] | no transfer is half done, lost or done twice |
//! | [`locks`] | a token is given once, and nothing passes under an older one |
//! | [`watches`] | every change once, in order, without a gap |
//! | [`acknowledged`] | what was acknowledged is there, at the revision it was acknowledged with |
//! | [`exactly_once`] | what is there was written once, by the request that was acknowledged |

use crate::Use;
use crate::record::{Log, Micro, Outcome, Record, What};
use crate::script::{WATCHED, WORK, elements};
use dwcp_check::append::{self, Level, Status, Step, Transaction};
use dwcp_check::linearizable::kv::{Kv, KvAction, KvOp};
use dwcp_check::linearizable::{Budget, Operation, Verdict, check};
use dwcp_env::Instant;
use std::collections::BTreeMap;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What happened, for people.
    pub detail: String,
    /// When it showed.
    pub at: Instant,
    /// Whether it is proven; false where the bounds of the check ended first, so that nothing is.
    pub certain: bool,
}

impl Broken {
    pub(crate) fn by(record: &Record, detail: String) -> Self {
        let at = if record.ret == Instant::FAR { record.call } else { record.ret };
        Self { detail, at, certain: true }
    }
}

/// What a replica holds, now and in the past.
pub trait Held {
    /// The value of a key as of a revision with the revision that wrote it: `Ok(None)` if it was
    /// absent then, `Err` if that is not known any more (compacted) or not yet.
    ///
    /// # Errors
    /// Why it is not known.
    fn at(&self, key: &[u8], revision: i64) -> Result<Option<(Vec<u8>, i64)>, String>;
    /// The newest revision.
    fn revision(&self) -> i64;
}

/// What a check may spend: half a second, a quarter of a GiB.
const BUDGET: Budget = Budget { steps: 100_000_000, states: 1 << 22 };

fn times(record: &Record) -> (u64, u64) {
    let ret = if record.outcome == Outcome::Ok { record.ret_place } else { Operation::<()>::PENDING };
    (record.call_place, ret)
}

/// Judges single keys.
///
/// # Errors
/// The witness.
pub fn linearizable(log: &Log) -> Result<(), Broken> {
    let mut operations = Vec::with_capacity(log.records.len());
    let mut places = Vec::with_capacity(log.records.len());
    for (place, record) in log.records.iter().enumerate() {
        if record.outcome == Outcome::Fail {
            continue;
        }
        let known = record.outcome == Outcome::Ok;
        let (key, action) = match record.what {
            What::Get { .. } if !known => continue,
            What::Get { key, seen } => (key, KvAction::Get(seen)),
            What::Put { key, value } => (key, KvAction::Put(value)),
            What::Cas { key, expected, new, succeeded } => {
                (key, KvAction::Cas { expected, new, succeeded: succeeded || !known })
            }
            What::Delete { key, existed } => (key, KvAction::Delete { existed: known.then_some(existed) }),
            _ => continue,
        };
        let (call, ret) = times(record);
        places.push(place);
        operations.push(Operation { process: record.process, call, ret, op: KvOp { key, action } });
    }
    verdict(log, &places, check(&Kv, &operations, &BUDGET))
}

/// Judges lists: whole transactions over all keys, real time included.
///
/// # Errors
/// The cycle, or the list that cannot be.
pub fn lists(log: &Log) -> Result<(), Broken> {
    let mut transactions = Vec::new();
    let mut places = Vec::new();
    for (place, record) in log.records.iter().enumerate() {
        let What::Lists(micros) = &record.what else { continue };
        let status = match record.outcome {
            Outcome::Ok => Status::Committed,
            Outcome::Fail => Status::Aborted,
            Outcome::Open | Outcome::Info => Status::Unknown,
        };
        let step = |micro: &Micro| match micro {
            Micro::Append { key, element } => Step::Append { key: *key, element: *element },
            Micro::Read { key, seen } => {
                let list = (status == Status::Committed).then(|| seen.clone().into());
                Step::Read { key: *key, list }
            }
        };
        let (call, ret) = times(record);
        let steps = micros.iter().map(step).collect();
        transactions.push(Transaction { process: record.process, call, ret, status, steps });
        places.push(place);
    }
    let found = append::check(&transactions, Level::StrictSerializable);
    let Some(worst) = found.first() else { return Ok(()) };
    let records = worst.transactions.iter().map(|at| &log.records[places[*at]]);
    let last = records.filter(|r| r.ret != Instant::FAR).max_by_key(|r| r.ret);
    Err(Broken { certain: true, detail: worst.to_string(), at: last.map_or(Instant::ZERO, |r| r.ret) })
}

fn verdict(log: &Log, places: &[usize], verdict: Verdict) -> Result<(), Broken> {
    match verdict {
        Verdict::Linearizable => Ok(()),
        Verdict::NotLinearizable(witness) => {
            let records = witness.operations.iter().filter_map(|o| places.get(o.index));
            let last =
                records.map(|p| &log.records[*p]).filter(|r| r.ret != Instant::FAR).max_by_key(|r| r.ret);
            let at = last.map_or(Instant::ZERO, |r| r.ret);
            Err(Broken { detail: witness.to_string(), at, certain: true })
        }
        Verdict::Unknown { key, why } => Err(Broken {
            detail: format!("key {key} could not be judged: {why}; give it fewer clients"),
            at: Instant::ZERO,
            certain: false,
        }),
    }
}

/// Judges the bank: every audit sees the opening sum.
///
/// # Errors
/// The audit that does not.
pub fn bank(log: &Log) -> Result<(), Broken> {
    for record in log.records.iter().filter(|r| r.outcome == Outcome::Ok) {
        if let What::Audit { total, accounts } = record.what
            && total != accounts * crate::script::OPENING
        {
            let want = accounts * crate::script::OPENING;
            let detail =
                format!("{accounts} accounts hold {total} at revision {}, not {want}", record.revision);
            return Err(Broken::by(record, detail));
        }
    }
    Ok(())
}

/// Judges locks by their tokens.
///
/// # Errors
/// The first that breaks the rule.
pub fn locks(log: &Log) -> Result<(), Broken> {
    let mut given: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    let ok = || log.records.iter().filter(|r| r.outcome == Outcome::Ok);
    for record in ok() {
        if let What::Acquire { key, token } = record.what {
            let tokens = given.entry(key).or_default();
            if tokens.contains(&token) {
                return Err(Broken::by(record, format!("lock {key}: token {token} was given twice")));
            }
            tokens.push(token);
        }
    }
    for tokens in given.values_mut() {
        tokens.sort_unstable();
    }
    for record in ok() {
        let (What::Fenced { key, token, passed: true } | What::Release { key, token }) = record.what else {
            continue;
        };
        let tokens = given.get(&key).map_or(&[][..], |t| t);
        // The next holder's token: nothing of ours may pass at or after it.
        let next = tokens.get(tokens.partition_point(|t| *t <= token));
        if record.revision < token || next.is_some_and(|n| record.revision >= *n) {
            let detail = format!(
                "lock {key}: {} under token {token} passed at revision {}, though token {next:?} was given",
                record.what.name(),
                record.revision
            );
            return Err(Broken::by(record, detail));
        }
    }
    Ok(())
}

/// Judges watchers against the acknowledged writes.
///
/// # Errors
/// The first change out of order, seen twice, invented or left out.
pub fn watches(log: &Log) -> Result<(), Broken> {
    let mut written: BTreeMap<i64, (u64, u64, &Record)> = BTreeMap::new();
    let mut values = std::collections::BTreeSet::new();
    for record in &log.records {
        let What::Put { key, value } = record.what else { continue };
        if key < WATCHED {
            continue;
        }
        values.insert((key, value));
        if record.outcome == Outcome::Ok {
            written.insert(record.revision, (key, value, record));
        }
    }
    let mut seen: BTreeMap<u32, Vec<&Record>> = BTreeMap::new();
    for record in log.records.iter().filter(|r| matches!(r.what, What::Saw { .. })) {
        seen.entry(record.client).or_default().push(record);
    }
    for (watcher, changes) in seen {
        judge_watcher(watcher, &changes, &written, &values)?;
    }
    Ok(())
}

fn judge_watcher(
    watcher: u32,
    changes: &[&Record],
    written: &BTreeMap<i64, (u64, u64, &Record)>,
    values: &std::collections::BTreeSet<(u64, u64)>,
) -> Result<(), Broken> {
    let mut last = 0;
    let mut told = std::collections::BTreeSet::new();
    for record in changes {
        let What::Saw { key, value } = record.what else { continue };
        let at = record.revision;
        let wrong = if at <= last {
            Some(format!("was told of revision {at} after {last}"))
        } else if value.is_some_and(|v| !told.insert((key, v))) {
            Some(format!("was told twice of {value:?} in key {key}: it was written twice"))
        } else if value.is_some_and(|v| !values.contains(&(key, v))) {
            Some(format!("was told of {value:?} in key {key}, which nobody wrote"))
        } else if written.get(&at).is_some_and(|(k, v, _)| (*k, Some(*v)) != (key, value)) {
            Some(format!("was told of another write at revision {at} than the client that made it"))
        } else {
            // Nothing acknowledged may lie between the last told and this.
            let missed = written.range(last + 1..at).next();
            missed.map(|(r, _)| format!("was told of revision {at} after {last}, and never of {r}"))
        };
        if let Some(what) = wrong {
            return Err(Broken::by(record, format!("watcher {watcher} {what}")));
        }
        last = at;
    }
    Ok(())
}

/// How many acknowledged writes are lost, and the first of them. `held` is a replica's state
/// at the end.
pub fn acknowledged(log: &Log, held: &dyn Held) -> (u64, Option<Broken>) {
    let mut lost = 0;
    let mut first = None;
    let mut lists: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for record in log.acknowledged() {
        let why = match &record.what {
            What::Put { key, value } | What::Cas { key, new: value, .. } => {
                lost_write(held, record, *key, *value)
            }
            What::Lists(micros) => lost_elements(held, micros, &mut lists),
            What::Transfer { from, to, .. } => {
                let written = [from, to].map(|a| Use::Bank.key(*a));
                written.iter().find_map(|key| lost_revision(held, record, key))
            }
            What::Acquire { key, .. } => lost_revision(held, record, &Use::Lock.key(*key)),
            What::Fenced { key, .. } => lost_revision(held, record, &Use::Lock.key(WORK + *key)),
            What::Delete { .. } => (record.revision > held.revision())
                .then(|| format!("the store's revision is {}, behind it", held.revision())),
            _ => None,
        };
        if let Some(why) = why {
            lost += 1;
            first.get_or_insert_with(|| {
                let (name, at) = (record.what.name(), record.revision);
                Broken::by(
                    record,
                    format!(
                        "{name} of client {} acknowledged at revision {at} is lost: {why}",
                        record.client
                    ),
                )
            });
        }
    }
    (lost, first)
}

fn lost_write(held: &dyn Held, record: &Record, key: u64, value: u64) -> Option<String> {
    if record.revision > held.revision() {
        return Some(format!("the store's revision is only {}", held.revision()));
    }
    // Which workload's key it was follows from what is there.
    let mut why = None;
    for kind in [Use::Register, Use::Watch] {
        match held.at(&kind.key(key), record.revision) {
            // Compacted: nothing can be said about it.
            Err(_) => return None,
            Ok(Some((there, at))) if at == record.revision && there == value.to_be_bytes() => return None,
            Ok(Some((_, at))) => why = Some(format!("its key was last written at {at} as of that revision")),
            Ok(None) => {}
        }
    }
    Some(why.unwrap_or_else(|| "its key was absent as of that revision".to_owned()))
}

/// That a key was written at the very revision of this record.
fn lost_revision(held: &dyn Held, record: &Record, key: &[u8]) -> Option<String> {
    if record.revision > held.revision() {
        return Some(format!("the store's revision is {}, behind it", held.revision()));
    }
    match held.at(key, record.revision) {
        // Compacted: nothing can be said about it.
        Err(_) => None,
        Ok(Some((_, at))) if at == record.revision => None,
        Ok(Some((_, at))) => Some(format!("its key was last written at {at} as of that revision")),
        Ok(None) => Some("its key was absent as of that revision".to_owned()),
    }
}

fn lost_elements(held: &dyn Held, micros: &[Micro], lists: &mut BTreeMap<u64, Vec<u64>>) -> Option<String> {
    for micro in micros {
        let Micro::Append { key, element } = micro else { continue };
        let list = lists.entry(*key).or_insert_with(|| {
            let now = held.at(&Use::ListAppend.key(*key), held.revision()).ok().flatten();
            now.map_or_else(Vec::new, |(value, _)| elements(&value))
        });
        if !list.contains(element) {
            return Some(format!("list {key} of {} elements lacks {element}", list.len()));
        }
    }
    None
}

/// Judges that what is there now was written by the request that was acknowledged for it, and
/// that no list holds an element twice.
///
/// # Errors
/// What was applied twice.
pub fn exactly_once(log: &Log, held: &dyn Held) -> Result<(), Broken> {
    let mut lists = std::collections::BTreeSet::new();
    let mut writers: BTreeMap<(u64, u64), &Record> = BTreeMap::new();
    for record in log.acknowledged() {
        match &record.what {
            What::Put { key, value } | What::Cas { key, new: value, .. } => {
                writers.insert((*key, *value), record);
            }
            What::Lists(micros) => lists.extend(micros.iter().map(|m| match m {
                Micro::Append { key, .. } | Micro::Read { key, .. } => *key,
            })),
            _ => {}
        }
    }
    let keys: std::collections::BTreeSet<u64> = writers.keys().map(|k| k.0).collect();
    for key in keys {
        for kind in [Use::Register, Use::Watch] {
            let Ok(Some((value, at))) = held.at(&kind.key(key), held.revision()) else { continue };
            let Some(value) = value.first_chunk::<8>().map(|v| u64::from_be_bytes(*v)) else { continue };
            if let Some(record) = writers.get(&(key, value)).filter(|r| r.revision != at) {
                let detail = format!(
                    "{value} in key {key} was acknowledged at revision {} and written at {at}",
                    record.revision
                );
                return Err(Broken::by(record, detail));
            }
        }
    }
    for key in lists {
        let Ok(Some((value, _))) = held.at(&Use::ListAppend.key(key), held.revision()) else { continue };
        let mut list = elements(&value);
        let before = list.len();
        list.sort_unstable();
        list.dedup();
        if list.len() != before {
            let detail = format!("list {key} holds an element twice");
            return Err(Broken { detail, at: Instant::ZERO, certain: true });
        }
    }
    Ok(())
}
