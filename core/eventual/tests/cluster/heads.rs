//! Heads of the audit's chains in consensus, and chains that are not what was promised.

use crate::documents::{file, three, who};
use crate::secs;
use crate::world::World;
use dwcp_conflict::audit::Promised;
use dwcp_eventual::documents::ask::{Answer, Change, Question, Verdict};

impl World {
    /// Two write what did not see each other: a record more.
    fn quarrel(&mut self, cpu: u64) {
        self.cut(2, true);
        for (n, role, cpu) in [(0, "operator", cpu), (2, "autoscaler", cpu + 100)] {
            let fields = vec![("/cpu".to_string(), Some(file(&cpu.to_string()).into()))];
            let change = Change::Patch(fields);
            let (kind, key, by) = ("vm".to_string(), "a".to_string(), who(role));
            self.about(n, Question::Write { kind, key, by, change }).expect("it is written");
        }
        self.cut(2, false);
        self.run(secs(10));
    }
    fn verdicts(&mut self, n: usize) -> Vec<Verdict> {
        match self.about(n, Question::Verify) {
            Ok(Answer::Verified(all)) => all,
            other => panic!("{other:?}"),
        }
    }
    fn promised(&self, of: u16) -> Promised {
        Promised::from_bytes(&self.kept_at(&format!("heads/{of}")).expect("a promise")).expect("promises")
    }
}

#[test]
fn heads_are_promised_as_chains_grow_and_chains_are_as_promised() {
    let mut w = three();
    w.quarrel(1);
    w.run(secs(70));
    let first = w.verdicts(1);
    assert_eq!((first.len(), first[0].records, first[0].promised.map(|p| p.0)), (1, 1, Some(1)), "{first:?}");
    w.run(secs(200));
    assert_eq!(w.verdicts(1), first, "a chain that does not grow is not promised again");
    (2..5).for_each(|i| w.quarrel(i));
    w.run(secs(130));
    for n in 0..3 {
        w.crash(n);
        w.boot(n);
        w.run(secs(5));
    }
    for n in 0..3 {
        let all = w.verdicts(n);
        let told = (all[0].records, all[0].promised.map(|p| p.0), all[0].missing, all[0].fault.clone());
        assert_eq!(told, (4, Some(4), 0, None), "node {n}");
    }
    // Without a quorum nothing is promised; afterwards all that came meanwhile is.
    w.strong_down(true);
    w.quarrel(9);
    w.run(secs(130));
    assert_eq!(w.verdicts(0)[0].promised.map(|p| p.0), Some(4));
    w.strong_down(false);
    w.run(secs(130));
    assert_eq!(w.verdicts(0)[0].promised.map(|p| p.0), Some(5));
}

/// Consensus and chain contradict each other, whichever was altered: here the chain is what the promise is not.
#[test]
fn a_chain_that_is_not_what_was_promised_is_told_with_the_first_record_that_may_differ() {
    let mut w = three();
    for i in 0..4 {
        w.quarrel(i);
        w.run(secs(70));
    }
    let promised = w.promised(0);
    let (head, at) = promised.last().expect("one");
    assert_eq!(head.sequence, 4);
    let promise = |w: &mut World, change: &dyn Fn(&mut Promised)| {
        let mut forged = promised.clone();
        change(&mut forged);
        w.decide("heads/0", forged.to_bytes());
        w.run(secs(3));
    };
    let other = dwcp_conflict::audit::Head { sequence: 5, check: [7; 32] };
    promise(&mut w, &|p| p.add(other, at + 60_000));
    let (own, others) = (w.verdicts(0), w.verdicts(1));
    let why = "4 records, and 5 were promised: record 5 and those behind it were cut off";
    assert_eq!(own[0].fault, Some((5, why.to_string())), "whose chain it is has all of it");
    assert_eq!((others[0].fault.clone(), others[0].missing), (None, 1), "to others it may come");
    let at_fault = |w: &World| {
        [0, 1, 2].map(|n| w.node(n).status(w.calendar()).documents.expect("figures").broken_chains)
    };
    assert_eq!(at_fault(&w), [0, 0, 0], "the next round is not due");
    w.run(secs(600));
    assert_eq!(at_fault(&w), [1, 0, 0], "nobody asked");
    w.quarrel(9);
    w.run(secs(130));
    for n in 0..3 {
        let found = w.verdicts(n)[0].fault.clone();
        let why = "it is another than was promised: the first record that differs is one of 5 to 5";
        assert_eq!(found, Some((5, why.to_string())), "node {n}");
    }
    assert_eq!(w.promised(0).last(), Some((other, at + 60_000)), "nothing is made good by another promise");
    w.run(secs(620));
    assert_eq!(at_fault(&w), [1, 1, 1]);
    // The promise was what had been altered: once it is as it was, it is over.
    w.decide("heads/0", promised.to_bytes());
    w.run(secs(620));
    assert_eq!(at_fault(&w), [0, 0, 0]);
}
