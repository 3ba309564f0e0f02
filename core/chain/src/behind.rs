//! A Raft epoch's log, made to go on behind a state that is not of its making.
//!
//! **Model.** The state may be a peer's, or what this node left while its log was damaged. A log that reaches the state's place and has
//! there what the state has (an index and a term name one entry: Ongaro and Ousterhout, *In Search of an Understandable Consensus
//! Algorithm*, figure 3, log matching) is left as it is. Else it begins behind the state.
//!
//! **Invariants.** 1. What is missing of a log makes it suspect: its node does not vote before it has caught up, in this life or a later
//! one, so that is said on the disk before what shows it is cut off. 2. What another leader wrote
//! where the state has something decided, in an earlier term or a later one (figure 8), was never decided, nor what is behind it: to drop it is
//! no loss. 3. A crash between any two of the records leaves a log of which this is asked again, with the same end.

use dwcp_consensus::Position;
use dwcp_wal::{GroupLog, Record};

/// What became of a log.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Behind {
    /// It had something else where the state is.
    pub(crate) overwritten: bool,
    /// It lacks something, and nothing on its disk will say so: to be told first of all.
    pub(crate) suspect: bool,
    /// What its disk is to be told, in this order.
    pub(crate) records: Vec<Record>,
}

/// Makes a log go on behind a state; `None` if it does.
pub(crate) fn begin(log: &mut GroupLog, at: Position) -> Option<Behind> {
    let (had, ended) = (log.purged.map_or(0, |p| p.1), log.last.unwrap_or(0));
    let reaches = log.entries.last().map_or(had, |e| e.index);
    let whole = log.entries.iter().zip(had + 1..).all(|(e, i)| e.index == i) && reaches == ended;
    let within = whole && had <= at.index && at.index <= reaches;
    let held = log.entries.iter().find(|e| e.index == at.index).map(|e| e.term);
    let overwritten = within && held.is_some_and(|term| term != at.term);
    if within && !overwritten {
        return None;
    }
    log.entries.retain(|e| e.index > at.index);
    let follow = |(e, i): &(&dwcp_wal::LogEntry, u64)| e.index == *i && e.term >= at.term;
    let kept = log.entries.iter().zip(at.index + 1..).take_while(follow).count();
    log.entries.truncate(if overwritten { 0 } else { kept });
    let last = log.entries.last().map_or(at.index, |e| e.index);
    let suspect = ended > last && !overwritten && !log.suspect;
    log.suspect |= suspect;
    (log.purged, log.last) = (Some((at.term, at.index)), Some(last));
    let mut records = Vec::with_capacity(3);
    if overwritten {
        // Before the purge, or a crash behind that one would leave entries of another leader right behind the state.
        records.push(Record::Truncate { after: Some(at.index - 1).filter(|index| *index > 0) });
    }
    records.push(Record::Purge { term: at.term, index: at.index });
    records.push(Record::Truncate { after: Some(last) });
    Some(Behind { overwritten, suspect, records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use dwcp_wal::LogEntry;

    /// A log of entries of these terms, behind a purge.
    fn log(purged: Option<(u64, u64)>, terms: &[u64]) -> GroupLog {
        let first = purged.map_or(0, |p| p.1) + 1;
        let entry = |(index, term): (u64, &u64)| LogEntry { index, term: *term, payload: Bytes::new() };
        let entries: Vec<LogEntry> = (first..).zip(terms).map(entry).collect();
        let last = entries.last().map(|e| e.index).or(purged.map(|p| p.1));
        GroupLog { purged, last, entries, ..GroupLog::default() }
    }
    const fn at(term: u64, index: u64) -> Position {
        Position { term, index }
    }
    /// Terms that are left, and whether it is suspect.
    fn left(log: &GroupLog) -> (Vec<u64>, bool) {
        (log.entries.iter().map(|e| e.term).collect(), log.suspect)
    }

    #[test]
    fn what_the_state_overwrites_goes_with_all_behind_it_and_nothing_is_missed() {
        for (name, terms, state) in [
            ("an earlier term", &[1, 1, 1][..], at(2, 2)),
            ("a later one", &[1, 3, 3], at(2, 2)),
            ("a later one behind an earlier", &[1, 1, 3], at(2, 2)),
            ("the first entry", &[1], at(2, 1)),
            ("the last", &[1, 1, 1], at(2, 3)),
        ] {
            let mut found = log(None, terms);
            let Behind { overwritten, records, .. } = begin(&mut found, state).expect(name);
            assert!(overwritten, "{name}");
            assert_eq!(left(&found), (vec![], false), "{name}");
            assert_eq!((found.purged, found.last), (Some((2, state.index)), Some(state.index)), "{name}");
            assert_eq!(begin(&mut found, state), None, "{name}: done once");
            // A crash behind the first record: what is asked again ends in the same way.
            let mut cut = log(None, &terms[..state.index as usize - 1]);
            assert_eq!(records[0], Record::Truncate { after: cut.last }, "{name}");
            assert!(!begin(&mut cut, state).expect(name).overwritten, "{name}");
            assert_eq!(
                (&cut.purged, &cut.last, left(&cut)),
                (&found.purged, &found.last, left(&found)),
                "{name}"
            );
        }
    }

    #[test]
    fn what_holds_the_state_stays_and_what_is_missing_makes_suspect() {
        for (name, mut fits, state) in [
            ("at its end", log(None, &[1, 2]), at(2, 2)),
            ("within", log(None, &[1, 2, 2, 3]), at(2, 2)),
            ("at its purge", log(Some((2, 2)), &[3]), at(2, 2)),
            ("at nothing", log(None, &[1]), at(0, 0)),
        ] {
            assert_eq!(begin(&mut fits, state), None, "{name}");
        }
        let mut short = log(None, &[1]);
        assert!(begin(&mut short, at(2, 5)).is_some());
        assert_eq!(left(&short), (vec![], false), "it had promised nothing beyond");
        let mut holed = log(None, &[1, 1, 1, 1]);
        holed.entries.remove(2);
        assert!(begin(&mut holed, at(1, 1)).is_some_and(|b| b.suspect), "its disk is to know it");
        assert_eq!((left(&holed), holed.last), ((vec![1], true), Some(2)), "behind the hole it is not known");
        let mut known = log(None, &[1, 1, 1, 1]);
        known.entries.remove(2);
        known.suspect = true;
        assert!(begin(&mut known, at(1, 1)).is_some_and(|b| !b.suspect), "it knows already");
        let mut older = log(Some((1, 4)), &[1]);
        assert!(begin(&mut older, at(1, 2)).is_some());
        assert_eq!(left(&older), (vec![], true), "the state is older than the log's beginning");
    }
}
