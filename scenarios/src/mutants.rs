//! Known bugs, put back in on purpose: a harness that does not find them proves nothing.
//!
//! Each is a switch in the settings of the part it belongs to, compiled only with the feature
//! `planted-bugs`, off unless a plan names it. They are of the kinds that were found in systems like this one (votes
//! and acknowledgements before the disk, fsync errors passed over, truncations replayed wrongly, sessions lost with a
//! snapshot, watches with gaps at a reconnect or a compaction, leases that end early after a failover). A [`hunt`] runs
//! scenarios seed by seed until one breaks, and shrinks what it found; [`page`] writes `docs/mutants.md`.
//!
//! | measure | asked for |
//! |---|---|
//! | seeds until found | at most [`SEEDS`] |
//! | faults left after shrinking | at most [`FAULTS`] |
//! | time to shrink | at most [`SHRINK`] |
//! | all of them, on two cores | ten minutes; 95 of 100 found |

mod hunting;
mod table;

pub use hunting::{Alarm, Found, Hunt, Terms, hunt};
pub use table::{page, verdict};

use dwcp_node::NodeConfig;

/// Seeds within which a bug must be found.
pub const SEEDS: u64 = 500;
/// Faults that may be left.
pub const FAULTS: usize = 12;
/// Time that shrinking may take.
pub const SHRINK: std::time::Duration = std::time::Duration::from_secs(30);

/// A bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name: the part and the switch.
    pub name: &'static str,
    /// What is wrong, in words.
    pub what: &'static str,
    /// Where to look for it: mostly in the first, now and then in the others.
    pub scenarios: &'static [&'static str],
}

impl Mutant {
    /// Where run `nth` of a hunt takes place, and its seed above the first: of four runs three in the first scenario.
    #[must_use]
    pub fn place(&self, nth: u64) -> (&'static str, u64) {
        let others = self.scenarios.len() as u64 - 1;
        if others == 0 || nth % 4 != 3 {
            let before = if others == 0 { 0 } else { nth / 4 };
            return (self.scenarios[0], nth - before);
        }
        let turn = nth / 4;
        (self.scenarios[1 + (turn % others) as usize], turn / others)
    }
}

macro_rules! mutants {
    ($($name:literal $what:literal [$($scenario:literal),*] |$config:ident| $($plant:expr),+;)*) => {
        /// Every bug that can be planted.
        pub const MUTANTS: &[Mutant] =
            &[$(Mutant { name: $name, what: $what, scenarios: &[$($scenario),*] },)*];

        /// Plants a bug by its name; nothing without a name.
        ///
        /// # Panics
        /// If there is no such bug, or this build can't plant any.
        pub fn plant(bug: Option<&str>, config: &mut NodeConfig) {
            let Some(bug) = bug else { return };
            assert!(cfg!(feature = "planted-bugs"), "this build can't plant {bug}: build it with --features planted-bugs");
            #[cfg(feature = "planted-bugs")]
            match bug {
                $($name => { let $config = &mut *config; $($plant = true;)+ })*
                _ => panic!("no bug is called {bug}"),
            }
            #[cfg(not(feature = "planted-bugs"))]
            let _unused = config;
        }
    };
}

mutants! {
    // --- the log ---
    "wal.ack_before_sync" "writes are acknowledged before they are on the disk"
        ["disk/alone@raft", "failover/all_crash@raft"] |c| c.wal.bugs.ack_before_sync;
    "wal.checksum_unchecked" "what is read back from the log is believed unchecked"
        ["disk/rot_and_elect@raft", "disk/bit_rot@raft"] |c| c.wal.bugs.checksum_unchecked;
    "wal.directory_not_synced" "a new segment's name is not durable before it is written to"
        ["disk/alone@raft", "failover/all_crash@raft"] |c| c.wal.bugs.directory_not_synced;
    "wal.vote_forgotten" "a vote is acknowledged and not written"
        ["failover/store_crashes@raft", "swarm/crashes@raft"] |c| c.wal.bugs.vote_forgotten;
    "wal.truncate_wrongly" "recovery passes truncations over and takes the first entry of an index it finds"
        ["partition/cut_off_and_crashed@raft", "partition/store_cut_off@raft"] |c| c.wal.bugs.truncate_wrongly;
    "wal.group_commit_early" "a sync that ends acknowledges what was appended while it ran"
        ["disk/alone@raft", "failover/all_crash@raft"] |c| c.wal.bugs.group_commit_early;
    "wal.recovery_skips_last" "recovery passes the newest segment over"
        ["disk/alone@raft", "failover/all_crash@raft"] |c| c.wal.bugs.recovery_skips_last;
    "wal.trim_too_far" "segments are removed by their number, whatever lives in them"
        ["disk/alone@raft", "failover/store_crashes@raft"] |c| c.wal.bugs.trim_too_far;
    "wal.rotation_drops_state" "a new segment does not begin with the state of every group"
        ["failover/store_crashes@raft", "disk/alone@raft"] |c| c.wal.bugs.rotation_drops_state;
    "wal.syncs_wrong_segment" "after a change of segments the old one is synced once more, not the new one"
        ["disk/alone@raft", "failover/store_crashes@raft"] |c| c.wal.bugs.syncs_wrong_segment;
    "wal.error_ignored" "a write or sync that failed counts as done"
        ["disk/failing_alone@raft", "disk/errors@raft"] |c| c.wal.bugs.error_ignored;
    "wal.damage_ignored" "the log is cut off at the first damage, and nobody is told"
        ["disk/rot_and_elect@raft", "disk/bit_rot@raft"] |c| c.wal.bugs.damage_ignored;
    "wal.boot_tail_not_rewritten" "what a dead process left unsynced is believed at boot and not written again"
        ["disk/alone@raft", "failover/store_crashes@raft"] |c| c.wal.bugs.boot_tail_not_rewritten;
    // --- consensus ---
    "raft.vote_not_saved" "a vote is answered and never saved"
        ["failover/store_crashes@raft", "swarm/crashes@raft"] |c| c.engine.bugs.vote_not_saved;
    "raft.vote_not_read" "a vote is written and not read back at boot"
        ["failover/store_crashes@raft", "swarm/crashes@raft"] |c| c.engine.bugs.vote_not_read;
    "raft.vote_ignores_log" "a vote is granted whatever the candidate's log holds"
        ["partition/store_cut_off@raft", "failover/store_crashes@raft"] |c| c.engine.bugs.vote_ignores_log;
    "raft.ack_append_before_durable" "a follower answers before it has the entries on disk"
        ["failover/store_crashes@raft", "failover/all_crash@raft"] |c| c.engine.bugs.ack_append_before_durable;
    "raft.entry_not_logged" "the last entry of an append is answered as durable and not written"
        ["failover/store_crashes@raft", "swarm/crashes@raft"] |c| c.engine.bugs.entry_not_logged;
    "raft.minority_commit" "a peer that does not answer in time counts as one that has the entries"
        ["partition/store_cut_off@raft", "failover/leases@raft"] |c| c.engine.bugs.minority_commit;
    "raft.conflict_ignored" "a follower that can't place an append says that it has it"
        ["partition/store_cut_off@raft", "members/store_laggards@raft"] |c| c.engine.bugs.conflict_ignored;
    "raft.answers_by_order" "an answer is given to the oldest request to that peer, whatever it answers"
        ["network/late_answers@raft", "partition/store_cut_off@raft"] |c| c.engine.bugs.answers_by_order;
    "raft.note_claims_next" "the note of how far the log is decided names one entry too many"
        ["partition/store_cut_off@raft", "partition/cut_off_and_crashed@raft"] |c| c.engine.bugs.note_claims_next;
    "raft.members_forgotten" "new members are not part of what is kept with the state"
        ["members/joined_and_restarted@raft", "members/change_under_partition@raft"] |c| c.engine.bugs.members_forgotten;
    "raft.stale_read" "a leader reads without asking its quorum whether it still leads"
        ["failover/leases@raft", "partition/store_cut_off@raft"] |c| c.engine.bugs.stale_read;
    "raft.barrier_not_awaited" "a read does not wait until what it is to see is applied"
        ["partition/store_cut_off@raft", "failover/leases@raft"] |c| c.engine.bugs.barrier_not_awaited;
    "raft.barrier_joins_round" "a read is answered by a round that began before it"
        ["failover/leases@raft", "partition/store_cut_off@raft"] |c| c.engine.bugs.barrier_joins_round;
    "raft.snapshot_out_of_order" "a snapshot is installed over newer state"
        ["members/store_laggards", "members/snapshots_to_laggards"]
        |c| c.engine.bugs.snapshot_out_of_order, c.bugs.store.install_goes_back;
    "raft.snapshot_not_installed" "a snapshot's last piece is answered as installed, and nothing is installed"
        ["members/store_laggards@raft", "members/snapshots_to_laggards@raft"] |c| c.engine.bugs.snapshot_not_installed;
    "raft.retry_unknown" "a command of unknown outcome is proposed once more"
        ["partition/brief_cuts@raft", "partition/store_cut_off@raft"] |c| c.engine.bugs.retry_unknown;
    "raft.suspect_votes" "a node whose disk lost part of its log votes as if nothing had happened"
        ["disk/rot_and_elect@raft", "disk/bit_rot@raft"]
        |c| c.engine.bugs.suspect_votes, c.bugs.repair_skipped;
    // --- the node ---
    "node.read_without_barrier" "a read is answered from local state, behind no barrier"
        ["calm/store@raft", "partition/store_cut_off@raft"] |c| c.bugs.read_without_barrier;
    "node.blind_retry" "a write of unknown outcome is asked again without its session"
        ["partition/brief_cuts@raft", "partition/store_cut_off@raft"] |c| c.bugs.blind_retry;
    "node.asked_again" "what was asked of a silent peer is asked again, though it must not be done twice"
        ["network/late_answers@raft", "partition/store_cut_off@raft"] |c| c.bugs.asked_again;
    "node.unknown_as_not_done" "an unknown outcome is answered as certainly not done"
        ["partition/brief_cuts@raft", "partition/store_cut_off@raft"] |c| c.bugs.unknown_as_not_done;
    "node.tokens_restart" "questions are numbered anew in each life: answers to the last one's match"
        ["network/late_answers@raft", "failover/store_crashes@raft"] |c| c.bugs.tokens_restart;
    "node.repair_guesses" "an entry lost to the disk is made good by an empty one"
        ["disk/rot_and_elect@raft", "disk/bit_rot@raft"] |c| c.bugs.repair_guesses;
    // --- leases ---
    "lease.keepalive_anywhere" "a lease is kept alive by any node that knows it"
        ["calm/store@raft", "failover/leases@raft"] |c| c.bugs.keepalive_anywhere;
    "lease.keepalive_without_barrier" "a deposed leader keeps leases alive"
        ["failover/leases@raft", "partition/store_cut_off@raft"] |c| c.bugs.keepalive_without_barrier;
    "lease.clock_kept" "a lease's time goes on from where it stood when this node led last"
        ["failover/leases@raft"] |c| c.bugs.lease_clock_kept;
    "lease.never_due" "a new leader times only the leases granted to it"
        ["failover/leases@raft"] |c| c.bugs.lease_never_due;
    "lease.keys_leak" "the end of a lease leaves its keys"
        ["calm/store@raft"] |c| c.bugs.store.lease_keys_leak;
    "lease.keys_not_loaded" "at boot keys are not put back under their leases"
        ["failover/store_crashes@raft", "disk/alone@raft"] |c| c.bugs.store.lease_keys_not_loaded;
    "lease.keeps_key" "a key put under another lease ends with the old one, too"
        ["calm/store@raft"] |c| c.bugs.store.lease_keeps_key;
    "lease.not_in_snapshot" "a snapshot leaves the leases out"
        ["members/store_laggards@raft"] |c| c.bugs.store.snapshot_without_leases;
    // --- sessions ---
    "session.double_apply" "a retried command is applied again"
        ["failover/store_crashes@raft", "failover/leader_crash@raft"] |c| c.bugs.store.double_apply_after_retry;
    "session.not_in_snapshot" "a snapshot leaves out what makes retries safe"
        ["members/store_laggards@raft", "members/snapshots_to_laggards@raft"] |c| c.bugs.store.snapshot_without_sessions;
    "session.answers_not_loaded" "at boot sessions come back without their answers"
        ["failover/store_crashes@raft", "disk/alone@raft"] |c| c.bugs.store.answers_not_loaded;
    "session.answer_of_another" "an answer is remembered under the session's next number"
        ["calm/store@raft"] |c| c.bugs.store.answer_of_another;
    "session.life_in_nanos" "a session's life in seconds is taken for nanoseconds"
        ["calm/store@raft"] |c| c.bugs.store.session_life_in_nanos;
    // --- the store ---
    "store.checkpoint_claims_too_much" "a checkpoint claims what was applied while it was written"
        ["failover/store_crashes@raft", "swarm/crashes@raft"] |c| c.bugs.store.checkpoint_claims_too_much;
    "store.checkpoint_not_synced" "the log is trimmed behind a checkpoint that is not durable"
        ["disk/alone@raft", "failover/store_crashes@raft"] |c| c.bugs.store.checkpoint_not_synced;
    "store.stale_compare" "a transaction looks one revision into the past"
        ["calm/store@raft"] |c| c.bugs.store.stale_compare;
    "store.compare_any" "a condition on a range holds if it holds for one key of it"
        ["calm/store@raft"] |c| c.bugs.store.compare_any;
    "store.txn_not_atomic" "each put of a transaction has a revision of its own"
        ["calm/store@raft"] |c| c.bugs.store.txn_not_atomic;
    "store.version_not_reset" "a key made again goes on with the version it was deleted with"
        ["calm/store@raft"] |c| c.bugs.store.version_not_reset;
    "store.create_kept" "a key made again keeps the revision of its first creation"
        ["calm/store@raft"] |c| c.bugs.store.create_kept;
    "store.range_end_deleted" "a delete of a range takes the range's end, too"
        ["calm/store@raft"] |c| c.bugs.store.range_end_deleted;
    "chain.void_applied" "what an epoch decides behind its seal takes effect"
        ["consensus/switch", "consensus/switch_crashes"] |c| c.bugs.chain.void_applied;
    "chain.sent_before_durable" "a protocol's messages leave before what they promise is on disk"
        ["consensus/paxos", "consensus/switch_crashes"] |c| c.bugs.chain.sent_before_durable;
    "chain.durable_at_once" "a protocol's records count as durable once they are appended"
        ["consensus/switch_crashes", "consensus/paxos"] |c| c.bugs.chain.durable_at_once;
    "chain.damage_ignored" "a protocol goes on from a journal that has lost records"
        ["consensus/paxos_rot_tail", "disk/rot_and_elect@epaxos"] |c| c.bugs.chain.damage_ignored;
    "chain.old_barrier_passes" "a read passes the barrier of an epoch that is over"
        ["consensus/switch", "consensus/switch_leases"] |c| c.bugs.chain.old_barrier_passes;
    "chain.mark_not_renewed" "checkpoints keep the mark of the first one"
        ["consensus/paxos", "consensus/paxos_laggards"] |c| c.bugs.chain.mark_not_renewed;
    "chain.slot_forgotten" "a node forgets which part of the log an epoch's promises are in"
        ["consensus/switch_crashes", "consensus/switch"] |c| c.bugs.chain.slot_forgotten;
    "chain.log_ended_early" "an epoch's log goes before a checkpoint behind it is durable"
        ["consensus/switch_crashes"] |c| c.bugs.chain.log_ended_early;
    "chain.named_checkpoint_late" "under pbft a checkpoint is taken a little behind the place that is vouched for"
        ["consensus/pbft", "consensus/pbft_laggards"] |c| c.bugs.chain.named_checkpoint_late;
    "hybrid.fence_ignored" "a home answers without asking whether it still is one"
        ["consensus/hybrid_cut_off"] |c| c.bugs.hybrid_fence_ignored;
    "hybrid.wait_skipped" "who takes a keyspace over does not wait until the old home can't answer any more"
        ["consensus/hybrid_cut_off"] |c| c.bugs.hybrid_wait_skipped;
    "hybrid.bound_ignored" "a home takes and answers writes however far the others are behind"
        ["consensus/hybrid_bound"] |c| c.bugs.hybrid_bound_ignored;
    "hybrid.unsynced_counts" "a copy tells as durable what it has only played"
        ["consensus/hybrid_bound"] |c| c.bugs.hybrid_unsynced_counts;
    "hybrid.tail_forgotten" "a home that returns throws away what it alone had decided, and says nothing"
        ["consensus/hybrid_cut_off", "consensus/hybrid"] |c| c.bugs.hybrid_tail_forgotten;
    "chain.digest_unseen" "under pbft nobody looks at the state that is vouched for"
        ["consensus/pbft_laggards"] |c| c.bugs.chain.digest_unseen;
    "store.empty_delete_counts" "a delete that finds nothing uses a revision up"
        ["calm/store@raft"] |c| c.bugs.store.empty_delete_counts;
    "store.past_read_sees_present" "a read of the past answers with what is there now"
        ["calm/store@raft"] |c| c.bugs.store.past_read_sees_present;
    "store.compaction_eats_live" "compaction removes what is live at the compacted revision"
        ["calm/store@raft"] |c| c.bugs.store.compaction_eats_live;
    "store.tombstone_compacted" "compaction removes the mark of a deletion at the compacted revision (etcd 3.4)"
        ["calm/store@raft", "failover/store_crashes@raft"] |c| c.bugs.store.tombstone_compacted;
    // --- watches ---
    "watch.skips_first" "a watch that comes back begins behind the revision it asks for"
        ["calm/store@raft"] |c| c.bugs.store.watch_skips_first;
    "watch.repeats_last" "a watch that comes back is told the last change again"
        ["calm/store@raft"] |c| c.bugs.store.watch_repeats_last;
    "watch.past_ignored" "a watch that begins in the past is told only what is new"
        ["calm/store@raft"] |c| c.bugs.store.watch_past_ignored;
    "watch.prev_is_now" "what was before an event is what is there after it"
        ["calm/store@raft"] |c| c.bugs.store.watch_prev_is_now;
    "watch.jumps_compaction" "a watch whose revision was compacted goes on from what is left"
        ["failover/store_crashes@raft", "calm/store@raft"] |c| c.bugs.store.watch_jumps_compaction;
    "watch.out_of_order" "a watch that is behind is told what is new at once, and the rest later"
        ["failover/store_crashes@raft", "failover/leases@raft"] |c| c.bugs.store.watch_out_of_order;
    // --- documents ---
    "documents.unrecorded" "resolutions are written without their records"
        ["eventual/documents"] |c| c.eventual[0].unrecorded;
    "documents.own_view" "of what stands beside each other a node shows what it wrote itself"
        ["eventual/documents"] |c| c.eventual[0].own_view;
    "documents.unrecorded_rollback" "what a rollback overwrites is not recorded"
        ["eventual/checkpoints"] |c| c.eventual[0].unrecorded_rollback;
    "documents.half_rollback" "a rollback says after half of the documents that it is done"
        ["eventual/checkpoints"] |c| c.eventual[0].half_rollback;
}

/// Bugs that the scenarios there are do not find: hunted only by name. What they break is made good
/// by another part before it shows; each is a task, not a success.
///
/// `raft.retry_unknown`: what the engine discards was, on three nodes, never decided, so that doing it again is right;
/// only on five nodes can it come back, through a node that outlives the two that overwrote it.
pub const ELUSIVE: &[&str] = &["raft.retry_unknown"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_enough_and_each_can_be_hunted() {
        assert!(MUTANTS.len() - ELUSIVE.len() >= 50);
        assert!(ELUSIVE.iter().all(|e| MUTANTS.iter().any(|m| m.name == *e)));
        let names: BTreeSet<&str> = MUTANTS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), MUTANTS.len(), "a name names one bug");
        for mutant in MUTANTS {
            assert!(!mutant.scenarios.is_empty());
            for name in mutant.scenarios {
                crate::catalogue::find(name).unwrap_or_else(|e| panic!("{}: {e}", mutant.name));
            }
        }
    }

    #[test]
    fn a_hunt_takes_each_seed_of_each_scenario_once() {
        for scenarios in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            let mutant = Mutant { name: "", what: "", scenarios };
            let places: BTreeSet<_> = (0..200).map(|nth| mutant.place(nth)).collect();
            assert_eq!(places.len(), 200, "{scenarios:?}");
            assert!((0..100).all(|nth| places.contains(&("a", nth))), "{scenarios:?}");
        }
    }
}
