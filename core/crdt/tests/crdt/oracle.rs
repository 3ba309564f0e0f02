//! Against `crdts`, the named package, for the types in which it is right; and the plain values against the space.
//!
//! A write of an OR-Set is modelled there as "remove what is seen, then add", which is what superseding means.

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::space::{Config, Missing};
use dwcp_crdt::types::State;
use dwcp_crdt::{Hlc, ReplicaIndex, Roster, Space};
use dwcp_env::NodeId;
use proptest::prelude::*;

const NOW: u64 = 1_790_000_000_000;

#[derive(Clone, Debug)]
enum Step {
    Edit { replica: usize, what: u8, value: u8 },
    Pull { to: usize, from: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edit = (0usize..3, any::<u8>(), 0u8..4).prop_map(|(replica, what, value)| Step::Edit {
        replica,
        what,
        value,
    });
    let pull = (0usize..3, 0usize..3).prop_map(|(to, from)| Step::Pull { to, from });
    proptest::collection::vec(prop_oneof![2 => edit, 1 => pull], 1..40)
}

struct Pair {
    spaces: Vec<Space>,
    states: Vec<State>,
    at: Address,
}

impl Pair {
    fn new(kind: Kind) -> Self {
        let roster = Roster::founding((0..3).map(NodeId));
        let space = |i| {
            let mut s = Space::new(Config::new([1; 32]), roster.clone(), ReplicaIndex(i));
            s.open();
            s
        };
        Self {
            spaces: (0..3).map(space).collect(),
            states: vec![State::new(kind); 3],
            at: Address::key(kind, "k"),
        }
    }
    fn edit(&mut self, n: usize, change: &Change) {
        let edit = Edit::new(self.at.clone(), change.clone());
        let made = self.spaces[n].transact(NOW, &[edit]);
        let me = ReplicaIndex(n as u16);
        let hlc = made.as_ref().ok().and_then(Option::as_ref).map_or(Hlc::at(NOW), |b| b.hlc());
        let delta = self.states[n].mutate(me, hlc, &[], change);
        assert_eq!(made.is_ok(), delta.is_ok(), "{change:?}: {made:?}, {delta:?}");
        if let Ok(d) = delta {
            self.states[n].join(&d);
        }
    }
    fn pull(&mut self, to: usize, from: usize) {
        let Missing::Operations { batches, .. } =
            self.spaces[from].missing(self.spaces[to].version(), usize::MAX)
        else {
            panic!("nothing is trimmed")
        };
        for b in batches {
            self.spaces[to].receive(&b, NOW).expect("sound");
        }
        let other = self.states[from].clone();
        self.states[to].join(&other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn or_set(steps in steps()) {
        use crdts::{CmRDT, CvRDT, Orswot};
        let mut p = Pair::new(Kind::OrSet);
        let mut theirs: Vec<Orswot<u8, u8>> = vec![Orswot::new(); 3];
        for s in steps {
            match s {
                Step::Edit { replica: n, what, value } => {
                    let seen = theirs[n].contains(&value);
                    if what % 3 == 0 {
                        p.edit(n, &Change::Remove(vec![value]));
                        let op = theirs[n].rm(value, seen.derive_rm_ctx());
                        theirs[n].apply(op);
                    } else {
                        p.edit(n, &Change::Add(vec![value]));
                        let op = theirs[n].rm(value, seen.derive_rm_ctx());
                        theirs[n].apply(op);
                        let op = theirs[n].add(value, theirs[n].read_ctx().derive_add_ctx(n as u8));
                        theirs[n].apply(op);
                    }
                }
                Step::Pull { to, from } => {
                    p.pull(to, from);
                    let other = theirs[from].clone();
                    theirs[to].merge(other);
                }
            }
            for n in 0..3 {
                let mut want: Vec<Vec<u8>> = theirs[n].read().val.into_iter().map(|e| vec![e]).collect();
                want.sort();
                let got: Vec<Vec<u8>> = p.spaces[n].elements(&p.at, None, 99).into_iter().map(|e| e.bytes).collect();
                prop_assert_eq!(&got, &want);
                prop_assert_eq!(p.states[n].elements(&[]), want);
            }
        }
    }

    #[test]
    fn counters(steps in steps()) {
        use crdts::{CmRDT, CvRDT, PNCounter};
        let mut p = Pair::new(Kind::PnCounter);
        let mut theirs: Vec<PNCounter<u8>> = vec![PNCounter::new(); 3];
        for s in steps {
            match s {
                Step::Edit { replica: n, what, value } => {
                    let down = what % 3 == 0;
                    let (change, op) = if down {
                        (Change::Decrease(u64::from(value)), theirs[n].dec_many(n as u8, u64::from(value)))
                    } else {
                        (Change::Increase(u64::from(value)), theirs[n].inc_many(n as u8, u64::from(value)))
                    };
                    p.edit(n, &change);
                    theirs[n].apply(op);
                }
                Step::Pull { to, from } => {
                    p.pull(to, from);
                    let other = theirs[from].clone();
                    theirs[to].merge(other);
                }
            }
            for n in 0..3 {
                let want: i128 = theirs[n].read().to_string().parse().expect("a number");
                prop_assert_eq!(p.spaces[n].counter(&p.at).unwrap_or(0), want);
                prop_assert_eq!(p.states[n].total(&[]).unwrap_or(0), want);
            }
        }
    }

    #[test]
    fn registers(steps in steps(), lww: bool) {
        use crdts::{CmRDT, CvRDT, LWWReg, MVReg};
        let mut p = Pair::new(if lww { Kind::Lww } else { Kind::Mv });
        let mut many: Vec<MVReg<u8, u8>> = vec![MVReg::new(); 3];
        let mut last: Vec<LWWReg<u8, (u64, u64)>> = vec![LWWReg { val: 0, marker: (0, 0) }; 3];
        for s in steps {
            match s {
                Step::Edit { replica: n, value, .. } => {
                    p.edit(n, &Change::Write(vec![value]));
                    let op = many[n].write(value, many[n].read_ctx().derive_add_ctx(n as u8));
                    many[n].apply(op);
                    let shown = p.spaces[n].siblings(&p.at).into_iter().find(|s| s.dot.replica().0 == n as u16).expect("just written");
                    last[n].update(value, (shown.hlc.0, shown.dot.bits()));
                }
                Step::Pull { to, from } => {
                    p.pull(to, from);
                    let other = many[from].clone();
                    many[to].merge(other);
                    let other = last[from].clone();
                    last[to].merge(other);
                }
            }
            for n in 0..3 {
                let mut want: Vec<Vec<u8>> = many[n].read().val.into_iter().map(|v| vec![v]).collect();
                want.sort();
                let mut got: Vec<Vec<u8>> = p.spaces[n].siblings(&p.at).into_iter().map(|s| s.value).collect();
                got.sort();
                prop_assert_eq!(&got, &want);
                let mut plain = p.states[n].values(&[]);
                plain.sort();
                prop_assert_eq!(plain, want);
                if let Some(v) = p.spaces[n].value(&p.at) {
                    prop_assert_eq!(v, vec![last[n].val], "cause and effect agree with time, so the last write is shown");
                }
            }
        }
    }
}
