//! What a decision costs where nothing fails, to the byte: `tests/golden/cost_{pbft,epaxos,epaxos_atlas,paxos}.txt`.
//! `UPDATE_GOLDEN=1` writes them anew; read the difference.
#![cfg(feature = "rehearsal")]
#![allow(clippy::disallowed_methods, reason = "a test reads its golden file, and rewrites it when asked to")]

use dwcp_consensus::engine::Role;
use dwcp_consensus::rehearsal::Subject;
use dwcp_consensus::rehearsal::lockstep::Lockstep;
use dwcp_consensus::step::Protocol;
use dwcp_consensus::{epaxos, paxos, pbft};
use std::fmt::Write;

/// One line for each group and batch, asked at the second member; the first batch of a lifetime is not counted.
fn table<S: Subject>(subject: &S, groups: &[usize]) -> String {
    let mut text = String::from(
        "members batch | messages bytes | one-way-delays syncs-by-then | syncs logged | per command: messages bytes\n",
    );
    for members in groups {
        for batch in [1, 256] {
            let mut group = Lockstep::new(subject, *members, 1);
            let at = asked(subject, &mut group);
            group.measure(at, 1).expect("decided");
            let c = group.measure(at, batch).expect("decided");
            // Followers of a leader hear with its next words that the last were decided.
            assert!(group.decided.iter().all(|n| (1..=1 + batch).contains(n)), "{:?}", group.decided);
            assert_eq!(group.decided[at], 1 + batch);
            let per = |n: u64| format!("{}.{:02}", n / batch, n % batch * 100 / batch);
            let Ok(()) = writeln!(
                text,
                "{members} {batch} | {} {} | {} {} | {} {} | {} {}",
                c.messages,
                c.bytes,
                c.delays,
                c.syncs_then,
                c.syncs,
                c.logged,
                per(c.messages),
                per(c.bytes)
            ) else {
                unreachable!("a string grows")
            };
        }
    }
    text
}

/// Who is asked: the second member, or who leads once somebody does.
fn asked<S: Subject>(subject: &S, group: &mut Lockstep<S>) -> usize {
    if subject.leaderless() {
        return 1;
    }
    for _ in 0..1_000 {
        let leads = |n: &<S as Subject>::P| n.standing().role == Role::Leader;
        if let Some(at) = group.nodes.iter().position(leads) {
            while !group.wire.is_empty() {
                group.round(|_| true);
            }
            return at;
        }
        group.pass();
        group.round(|_| true);
    }
    panic!("nobody came to lead")
}

fn compare(name: &str, now: &str) {
    let path = format!("{}/tests/golden/cost_{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(now, golden, "{path} says otherwise: if that is meant, run again with UPDATE_GOLDEN=1");
}

#[test]
fn pbft_costs_what_the_golden_file_says() {
    compare("pbft", &table(&pbft::rehearsed::Rehearsed::default(), &[4, 7]));
}

#[test]
fn epaxos_costs_what_the_golden_file_says() {
    // One proposer: its commands follow each other on eight keys, and nobody's answer adds anything. No marker falls due.
    let subject =
        epaxos::Rehearsed { chain_max: 4_096, marker_every: 1 << 20, ..epaxos::Rehearsed::default() };
    compare("epaxos", &table(&subject, &[3, 5]));
}

/// As above under Atlas' rule: only a fast quorum is asked, of every thirty-second command all are.
#[test]
fn epaxos_under_atlas_rule_costs_what_the_golden_file_says() {
    let subject = |bears| epaxos::Rehearsed {
        chain_max: 4_096,
        marker_every: 1 << 20,
        atlas: Some(bears),
        ..epaxos::Rehearsed::default()
    };
    let (one, two) = (table(&subject(1), &[3, 5]), table(&subject(2), &[5]));
    compare("epaxos_atlas", &format!("one may be gone\n{one}two may be gone\n{two}"));
}

/// A batch is one message to each follower and one back, whatever it holds.
#[test]
fn multi_paxos_costs_what_the_golden_file_says() {
    compare("paxos", &table(&paxos::Rehearsed::default(), &[3, 5]));
}
