//! Real clusters under nemeses, briefly: the harness runs, heals, judges and leaves nothing behind.
//!
//! The full matrix is a command: `dwcp jepsen matrix --time 20s`.
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// One cluster at a time: they would take each other's cores, and elections on one site are impatient.
static ALONE: Mutex<()> = Mutex::new(());

fn jepsen(words: &[&str]) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO_BIN_EXE_dwcp"))
        .args(["--output", "json", "jepsen"])
        .args(words)
        .output()
        .unwrap()
}

/// Runs and expects a sound verdict, with all evidence above zero.
fn sound(words: &[&str]) -> serde_json::Value {
    let out = jepsen(words);
    let said = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    let verdict: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{words:?}: {e}: {said} {errors}"));
    assert_eq!(verdict["verdict"], "sound", "{words:?}: {verdict:#} {errors}");
    assert!(out.status.success());
    verdict
}

#[test]
fn a_register_survives_kills_and_pauses_and_its_history_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let edn = dir.path().join("history.edn");
    let page = dir.path().join("page.html");
    let (edn_path, page_path) = (edn.to_str().unwrap(), page.to_str().unwrap());
    let verdict = sound(&[
        "run",
        "register",
        "--nemesis",
        "kill,pause",
        "--time",
        "16s",
        "--seed",
        "11",
        "--history",
        edn_path,
        "--html",
        page_path,
    ]);
    assert!(verdict["operations"]["ok"].as_u64().unwrap() > 200, "{verdict:#}");
    assert_eq!(verdict["rpo_writes"], 0);
    for evidence in ["processes killed", "processes stopped"] {
        assert!(verdict["evidence"][evidence].as_u64().unwrap() > 0, "{verdict:#}");
    }
    let text = std::fs::read_to_string(edn).unwrap();
    assert!(text.contains(":process :kill") && text.contains(":f :cas"), "nemeses are part of the history");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("sound"));
}

/// Whether this machine lets a nemesis work; what it lacks is said.
fn possible(nemesis: &str) -> bool {
    let list: serde_json::Value = serde_json::from_slice(&jepsen(&["list"]).stdout).unwrap();
    let card = list["nemeses"].as_array().unwrap().iter().find(|n| n["name"] == nemesis).unwrap();
    if let Some(why) = card["lacks"].as_str() {
        eprintln!("not tried here: {why}");
        return false;
    }
    true
}

#[test]
fn lists_survive_failing_syncs_and_power_losses() {
    if possible("fsync-fail") {
        let words =
            ["run", "list-append", "--nemesis", "fsync-fail,lose-unsynced", "--time", "14s", "--seed", "5"];
        let verdict = sound(&words);
        for evidence in ["syncs ended in EIO", "disks lost power"] {
            assert!(verdict["evidence"][evidence].as_u64().unwrap() > 0, "{verdict:#}");
        }
    }
}

#[test]
fn the_bank_survives_partitions() {
    if possible("partition") {
        let verdict =
            sound(&["run", "bank", "--nemesis", "partition,one-way", "--time", "16s", "--seed", "5"]);
        assert!(verdict["evidence"]["packets dropped"].as_u64().unwrap() > 0, "{verdict:#}");
    }
}

/// Clients on both sides of a firewall partition write, a region is killed and comes back: healed, all nodes hold the same,
/// and all that was acknowledged.
#[test]
fn an_eventual_keyspace_survives_a_partition_and_the_loss_of_a_region() {
    if possible("partition") {
        let words = ["run", "eventual", "--nemesis", "partition,region-loss", "--time", "16s", "--seed", "5"];
        let verdict = sound(&words);
        assert!(verdict["operations"]["ok"].as_u64().unwrap() > 500, "{verdict:#}");
        assert_eq!(verdict["rpo_writes"], 0);
        for evidence in ["packets dropped", "processes killed"] {
            assert!(verdict["evidence"][evidence].as_u64().unwrap() > 0, "{verdict:#}");
        }
    }
}

/// And sees when they don't: replicas that throw repairs away stay apart.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_build_that_drops_repairs_is_convicted() {
    // A short cut is bridged by what the links keep; a process that was killed has missed what was pushed meanwhile.
    let words = ["run", "eventual", "--nemesis", "region-loss", "--time", "10s", "--seed", "5"];
    let out = jepsen(&[&words[..], &["--planted-bug", "drop-repairs"]].concat());
    let verdict: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &verdict["verdict"]), (Some(1), &"broken".into()), "{verdict:#}");
    let broken = |promise: &str| {
        let all = verdict["judged"].as_array().unwrap();
        all.iter().any(|j| j["promise"] == promise && j["state"] == "broken")
    };
    assert!(broken("all nodes hold the same"), "{verdict:#}");
}

/// The harness sees what it is for: a node that acknowledges before it syncs loses acknowledged writes
/// when the power goes, on real processes as in simulation.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_build_that_acknowledges_before_it_syncs_is_convicted() {
    assert!(possible("lose-unsynced"), "this test needs root and /dev/fuse");
    let words = ["run", "register", "--nemesis", "lose-unsynced", "--time", "16s", "--seed", "5"];
    let out = jepsen(&[&words[..], &["--planted-bug", "ack-before-sync"]].concat());
    let verdict: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &verdict["verdict"]), (Some(1), &"broken".into()), "{verdict:#}");
    assert!(verdict["rpo_writes"].as_u64().unwrap() > 0, "{verdict:#}");
}

#[test]
fn what_is_asked_for_wrongly_is_answered_with_what_would_be_right() {
    for (words, says) in [
        (&["run", "mars"][..], "list-append"),
        (&["run", "bank", "--nemesis", "meteor"][..], "region-loss"),
        (&["run", "bank", "--time", "5"][..], "250ms"),
    ] {
        let out = jepsen(words);
        let errors = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{words:?}");
        assert!(errors.contains(says), "{words:?}: {errors}");
    }
}
