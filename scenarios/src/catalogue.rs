//! The scenarios of this build, inside the program, so that `dwcp sim list` works anywhere.
//!
//! A file that no line here names fails the test: nothing is forgotten. Regressions
//! (`regressions/*.toml`, capsules of past failures) are listed the same way.

use crate::capsule::Capsule;
use crate::file::{FileError, Scenario};
use dwcp_node::EngineKind;
use std::path::Path;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../", $name, ".toml"))),)*]
    };
}

/// Name and text of every scenario.
pub const SCENARIOS: &[(&str, &str)] = embedded![
    "calm/idle",
    "calm/steady",
    "calm/store",
    "clock/drift",
    "clock/jump",
    "consensus/adaptive",
    "consensus/epaxos",
    "consensus/hybrid",
    "consensus/hybrid_bound",
    "consensus/hybrid_crashes",
    "consensus/hybrid_cut_off",
    "consensus/hybrid_move",
    "consensus/hybrid_raft",
    "consensus/hybrid_returns",
    "consensus/paxos",
    "consensus/paxos_laggards",
    "consensus/paxos_leases",
    "consensus/paxos_members",
    "consensus/paxos_rot",
    "consensus/paxos_rot_tail",
    "consensus/paxos_store",
    "consensus/pbft",
    "consensus/pbft_calm",
    "consensus/pbft_laggards",
    "consensus/pbft_liar",
    "consensus/pbft_lossy",
    "consensus/pbft_switch",
    "consensus/switch",
    "consensus/switch_crashes",
    "consensus/switch_idle",
    "consensus/switch_killed",
    "consensus/switch_leases",
    "consensus/switch_rot",
    "disk/alone",
    "disk/bit_rot",
    "disk/errors",
    "disk/failing_alone",
    "disk/full",
    "disk/rot_and_elect",
    "disk/slow_leader",
    "disk/torn_tail",
    "disk/torn_write",
    "disk/unreadable",
    "eventual/answers_ahead",
    "eventual/bit_rot",
    "eventual/checkpoints",
    "eventual/clock_hour",
    "eventual/collections",
    "eventual/crash_before_sync",
    "eventual/disk_lost",
    "eventual/documents",
    "eventual/documents_crashes",
    "eventual/evicted",
    "eventual/evicted_and_crashed",
    "eventual/large_values",
    "eventual/large_values_return",
    "eventual/partition",
    "eventual/region_returns",
    "eventual/steady",
    "eventual/swarm",
    "eventual/swarm_disks",
    "eventual/swarm_streams",
    "eventual/three_by_three",
    "eventual/torn_write",
    "eventual/wan_lossier",
    "eventual/wan_lossy",
    "eventual/wan_ten_thousand",
    "failover/all_crash",
    "failover/leader_crash",
    "failover/leader_pause",
    "failover/leases",
    "failover/region_loss",
    "failover/rolling_restart",
    "failover/store_crashes",
    "members/change_under_partition",
    "members/joined_and_restarted",
    "members/leader_transfer",
    "members/snapshot_to_joiner",
    "members/snapshots_to_laggards",
    "members/store_laggards",
    "network/clogged",
    "network/late_answers",
    "network/loss_and_reorder",
    "network/slow_leader",
    "partition/bridge",
    "partition/brief_cuts",
    "partition/cut_off_and_crashed",
    "partition/majority",
    "partition/minority",
    "partition/one_way",
    "partition/region_cut",
    "partition/region_keyspace",
    "partition/store_cut_off",
    "swarm/crashes",
    "swarm/nine_nodes",
    "swarm/three_nodes",
];

/// Name and text of every capsule of a past failure.
pub const REGRESSIONS: &[(&str, &str)] = embedded![
    "regressions/acknowledged_by_a_slow_leader",
    "regressions/acknowledged_outside_the_core",
    "regressions/checkpoint_outlived",
    "regressions/current_names_no_file",
    "regressions/eventual_nobody_whole",
    "regressions/eventual_two_who_know_only_each_other",
    "regressions/leader_outside_the_core",
    "regressions/log_took_another_way",
    "regressions/raft_entries_under_lower_indices",
    "regressions/raft_log_with_holes_behind_a_state",
    "regressions/state_behind_its_log"
];

/// All scenarios, parsed.
///
/// # Panics
/// If one is wrong, which a test excludes.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let parse = |(name, text): &(&str, &str)| Scenario::parse(name, text).unwrap_or_else(|e| panic!("{e}"));
    SCENARIOS.iter().map(parse).collect()
}

/// All regressions, parsed.
///
/// # Panics
/// If one is wrong, which a test excludes.
#[must_use]
pub fn regressions() -> Vec<(String, Capsule)> {
    let parse = |(name, text): &(&str, &str)| {
        ((*name).to_owned(), Capsule::parse(text).unwrap_or_else(|e| panic!("{name}: {e}")))
    };
    REGRESSIONS.iter().map(parse).collect()
}

/// A scenario by its name (`failover/leader_crash`, or `leader_crash` if only one is called so)
/// or by the path of a file; either with `@raft` (or another engine) behind it, under which the strong keyspace
/// then begins.
///
/// # Errors
/// That there is none, with those there are; or what is wrong in the file.
pub fn find(name: &str) -> Result<Scenario, FileError> {
    if let Some((name, engine)) = name.rsplit_once('@').filter(|(_, tail)| !tail.contains('/')) {
        let unknown = |what| FileError { file: name.to_owned(), line: 1, what };
        let engine = engine.parse::<EngineKind>().map_err(unknown)?;
        return Ok(find(name)?.under(engine));
    }
    if Path::new(name).extension().is_some_and(|e| e == "toml") {
        return Scenario::load(Path::new(name));
    }
    // People write region-loss.
    let name = name.replace('-', "_");
    let own = |full: &str| full == name || full.rsplit('/').next() == Some(name.as_str());
    let mut found = SCENARIOS.iter().filter(|(full, _)| own(full));
    match (found.next(), found.next()) {
        (Some((full, text)), None) => Scenario::parse(full, text),
        (first, _) => {
            let names: Vec<&str> = SCENARIOS.iter().map(|s| s.0).collect();
            let what = if first.is_some() { "several scenarios are called" } else { "no scenario is called" };
            let list = names.join(", ");
            Err(FileError { file: name.clone(), line: 1, what: format!("{what} {name:?}; there are {list}") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every `.toml` two levels below the crate's root, by name.
    fn files() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut names = BTreeSet::new();
        for theme in std::fs::read_dir(root).unwrap().flatten().filter(|e| e.path().is_dir()) {
            for file in std::fs::read_dir(theme.path()).unwrap().flatten() {
                if file.path().extension().is_some_and(|e| e == "toml") {
                    let (theme, own) = (theme.file_name(), file.path());
                    let own = own.file_stem().unwrap().to_string_lossy().into_owned();
                    names.insert(format!("{}/{own}", theme.to_string_lossy()));
                }
            }
        }
        names
    }

    #[test]
    fn every_file_is_listed_and_understood() {
        let listed: BTreeSet<String> =
            SCENARIOS.iter().chain(REGRESSIONS).map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files(), listed);
        for scenario in all() {
            let name = &scenario.name;
            assert!(!scenario.why.is_empty() && scenario.why.ends_with('.'), "{name} says why in a sentence");
            assert!(!scenario.check.always.is_empty(), "{name} checks something");
        }
        drop(regressions());
    }

    #[test]
    fn a_scenario_is_found_by_either_name_and_a_stranger_is_answered_with_the_list() {
        assert_eq!(find("failover/leader_crash").unwrap().name, "failover/leader_crash");
        assert_eq!(find("leader-crash").unwrap().name, "failover/leader_crash");
        let raft = find("leader-crash@raft").unwrap();
        assert_eq!((raft.name.as_str(), raft.node.engine), ("failover/leader_crash@raft", EngineKind::Raft));
        assert!(find("leader-crash@rift").unwrap_err().to_string().contains("rift"));
        let err = find("no_such").unwrap_err().to_string();
        assert!(err.contains("no scenario") && err.contains("failover/leader_crash"), "{err}");
    }

    #[test]
    fn every_sometimes_can_happen() {
        let faults = dwcp_runtime_sim::FaultKind::ALL.map(dwcp_runtime_sim::FaultKind::probe);
        for scenario in all() {
            for name in &scenario.check.sometimes {
                let known = faults.contains(&name.as_str())
                    || dwcp_env::event::CATALOGUE.iter().any(|e| e.0 == name)
                    || !name.starts_with("fault.");
                assert!(known, "{}: {name} is no fault and no event", scenario.name);
            }
        }
    }
}
