//! What is over leaves the space: records let go of their bytes, and the long values that no record needs any more go.
//!
//! | whose chain | who lets go of it |
//! |---|---|
//! | a member's that is active | that member, by its own clock |
//! | any other's | the first node that lives |
//!
//! So a node whose calendar is ahead forgets too early what it recorded itself, and nothing else. A record's stub and the removal of its
//! values are one transaction: nothing lies in the space that no record names. What stands for a record (its class, time, hash and check) stays
//! for good, a hundred bytes: others make the chain again of it from the first record on. In memory a node follows its own clock.
//!
//! **Rejected**: a deadline on the registers: they would go without a word of what was there, and the chain would end at the first. Letting the first
//! node that lives do it for all: its clock alone would decide over everything.

use super::{AUDIT, Documents, audit_address, value_address};
use crate::api::WRITE_MAX;
use crate::replica::{Eventual, millis};
use dwcp_crdt::{Change, Edit, ReplicaIndex, Standing};
use dwcp_env::{Duration, Now};
use dwcp_wal::Lsn;

/// Records and values that go at once.
const AT_ONCE: usize = 256;
/// Between looks at what is over: nothing is kept to the minute.
const LOOK_EVERY: Duration = Duration::secs(600);

impl Eventual {
    /// Lets go of what is over, if it is time.
    pub(super) fn let_go(&mut self, now: Now, documents: &mut Documents) {
        if now.mono < documents.next_past || !self.may_write() {
            return;
        }
        let (ms, first) = (millis(now), self.is_first());
        let Some(me) = self.identity.map(|i| i.replica) else { return };
        let active = |of: &ReplicaIndex| {
            let member = self.space.roster().get(*of);
            member.is_some_and(|m| matches!(m.standing, Standing::Active))
        };
        let all: Vec<ReplicaIndex> = documents.audit.chains().map(|c| c.owner()).collect();
        let (others, orphans): (Vec<_>, Vec<_>) = all.into_iter().filter(|of| *of != me).partition(active);
        let mut mine = vec![me];
        mine.extend(orphans.into_iter().filter(|_| first));
        for of in &mine {
            match self.let_go_of(now, documents, *of) {
                // The rest in the next look.
                Ok(true) => return,
                Ok(false) => {}
                Err(why) => {
                    documents.next_past = now.mono + LOOK_EVERY;
                    documents.fault(format!("what is over of the audit of {of} stays for now: {why}"));
                    return;
                }
            }
        }
        // What others let go of in the space they tell nobody.
        mine.extend(others);
        documents.audit.expire_of(&mine, ms);
        documents.next_past = now.mono + LOOK_EVERY;
    }

    /// Whether there was anything to let go of.
    fn let_go_of(&mut self, now: Now, documents: &mut Documents, of: ReplicaIndex) -> Result<bool, String> {
        let ms = millis(now);
        let space = &self.space;
        let lies = |hash: &[u8; 32]| !space.siblings(&value_address(hash)).is_empty();
        let over = documents.audit.over(of, ms, AT_ONCE, lies);
        if over.is_empty() {
            return Ok(false);
        }
        let stub = |(sequence, bytes): &(u64, Vec<u8>)| {
            Edit::new(audit_address(of, *sequence), Change::Write(bytes.clone()))
        };
        let mut edits: Vec<Edit> = over.records.iter().map(stub).collect();
        edits.extend(over.values.iter().map(|hash| Edit::new(value_address(hash), Change::Delete)));
        let size = self.space.weigh(&edits, WRITE_MAX);
        if size > WRITE_MAX {
            return Err(format!("{size} bytes of {} at once", AUDIT.escape_ascii()));
        }
        self.space.make(ms, &edits).map_err(|e| e.to_string())?;
        documents.audit.let_go(of, &over);
        self.unsynced_any = Some(Lsn(u64::MAX));
        self.probe.reachable("documents.let_go");
        Ok(true)
    }
}
