//! Laws: on small histories the checker agrees with trying every order.

use dwcp_check::linearizable::kv::{Kv, KvAction, KvOp};
use dwcp_check::linearizable::list::{List, ListAction, ListOp};
use dwcp_check::linearizable::mutex::{Mutex, MutexAction, MutexOp};
use dwcp_check::linearizable::queue::{Queue, QueueAction, QueueOp};
use dwcp_check::linearizable::registers::{Access, Registers};
use dwcp_check::linearizable::text::{Text, TextAction, TextOp};
use dwcp_check::linearizable::{Budget, Model, Operation, Verdict, check};
use proptest::prelude::*;

/// Tries every order. `step` answers the state after an operation, or `None` if its
/// result contradicts the state; pending operations may be left out.
fn every_order<O, S: Clone>(
    ops: &[Operation<O>],
    state: &S,
    done: &mut Vec<usize>,
    step: &impl Fn(&S, &Operation<O>) -> Option<S>,
) -> bool {
    let left: Vec<usize> = (0..ops.len()).filter(|at| !done.contains(at)).collect();
    if left.iter().all(|at| !ops[*at].returned()) {
        return true;
    }
    left.iter().any(|&at| {
        let first = left.iter().all(|other| ops[*other].ret >= ops[at].call);
        let Some(after) = step(state, &ops[at]).filter(|_| first) else {
            return false;
        };
        done.push(at);
        let found = every_order(ops, &after, done, step);
        done.pop();
        found
    })
}

/// When: gap since the call before, duration, and whether the answer was ever seen.
fn time() -> impl Strategy<Value = (u64, u64, bool)> {
    (0..4_u64, 0..9_u64, prop::bool::weighted(0.15))
}

fn timed<O>(ops: Vec<(O, (u64, u64, bool))>) -> Vec<Operation<O>> {
    let mut now = 0;
    let place = |(process, (op, (gap, duration, pending)))| {
        now += gap;
        let ret = if pending { Operation::<()>::PENDING } else { now + duration };
        Operation { process: process as u64, call: now, ret, op }
    };
    ops.into_iter().enumerate().map(place).collect()
}

/// The verdict must agree, and a witness must itself have no order.
fn agree<M: Model, S: Clone>(
    model: &M,
    ops: &[Operation<M::Op>],
    starts: &[S],
    step: impl Fn(&S, &Operation<M::Op>) -> Option<S>,
) -> Result<(), TestCaseError>
where
    M::Op: Clone + std::fmt::Debug,
{
    let truth = every_order(ops, &starts[0], &mut Vec::new(), &step);
    let verdict = check(model, ops, &Budget::default());
    prop_assert_eq!(truth, verdict.is_linearizable(), "{} {:#?}", verdict, ops);
    let Some(witness) = verdict.witness() else {
        return Ok(());
    };
    prop_assert!(witness.exact);
    let starts = if witness.from_beginning { &starts[..1] } else { starts };
    let mut inside: Vec<Operation<M::Op>> = Vec::new();
    for operation in &witness.operations {
        let mut copy = ops[operation.index].clone();
        if !operation.certain {
            copy.ret = Operation::<()>::PENDING;
        }
        inside.push(copy);
    }
    for start in starts {
        let found = every_order(&inside, start, &mut Vec::new(), &step);
        prop_assert!(!found, "the witness has an order: {} {:#?}", verdict, ops);
    }
    Ok(())
}

fn value() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.8, 1..4_u64)
}

fn kv_action() -> impl Strategy<Value = KvAction> {
    prop_oneof![
        4 => value().prop_map(KvAction::Get),
        4 => (1..4_u64).prop_map(KvAction::Put),
        1 => prop::option::of(any::<bool>()).prop_map(|existed| KvAction::Delete { existed }),
        3 => (value(), 1..4_u64, any::<bool>()).prop_map(|(expected, new, succeeded)| {
            KvAction::Cas { expected, new, succeeded }
        }),
    ]
}

/// One key of a map, said a second time.
#[expect(clippy::option_option, reason = "no step, or an absent key")]
fn kv_step(state: &Option<u64>, operation: &Operation<KvOp>) -> Option<Option<u64>> {
    let sure = operation.returned();
    match operation.op.action {
        KvAction::Get(seen) => (seen == *state || !sure).then_some(*state),
        KvAction::Put(value) => Some(Some(value)),
        KvAction::Delete { existed } => match existed {
            Some(existed) if sure && existed != state.is_some() => None,
            _ => Some(None),
        },
        KvAction::Cas { expected, new, succeeded } => {
            let after = if *state == expected { Some(new) } else { *state };
            (!sure || succeeded == (*state == expected)).then_some(after)
        }
    }
}

/// Pending operations must be written as the model asks.
fn as_pending(mut operation: Operation<KvOp>) -> Operation<KvOp> {
    if !operation.returned() {
        match &mut operation.op.action {
            KvAction::Cas { succeeded, .. } => *succeeded = true,
            KvAction::Delete { existed } => *existed = None,
            KvAction::Get(_) | KvAction::Put(_) => {}
        }
    }
    operation
}

fn list_action() -> impl Strategy<Value = ListAction> {
    prop_oneof![
        Just(ListAction::Append(0)),
        prop::sample::subsequence(vec![1_u64, 2, 3, 4], 0..4)
            .prop_shuffle()
            .prop_map(|seen| ListAction::Read(seen.into())),
        prop::sample::select(vec![vec![], vec![1], vec![1, 2], vec![1, 2, 3]])
            .prop_map(|seen| ListAction::Read(seen.into())),
    ]
}

fn text_action() -> impl Strategy<Value = TextAction> {
    let word = || prop::sample::select(vec!["a", "b", "ab"]);
    prop_oneof![
        word().prop_map(|text| TextAction::Append(text.into())),
        word().prop_map(|text| TextAction::Put(text.into())),
        prop::sample::select(vec!["", "a", "b", "ab", "ba", "aab", "abb"])
            .prop_map(|text| TextAction::Get(text.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_map(ops in prop::collection::vec((kv_action(), time()), 1..8)) {
        let ops = ops.into_iter().map(|(action, time)| (KvOp { key: 3, action }, time));
        let ops: Vec<_> = timed(ops.collect()).into_iter().map(as_pending).collect();
        let starts = [None, Some(1), Some(2), Some(3), Some(9)];
        agree(&Kv, &ops, &starts, kv_step)?;
    }

    #[test]
    fn keys_are_judged_apart(ops in prop::collection::vec((0..2_u64, kv_action(), time()), 1..8)) {
        let ops = ops.into_iter().map(|(key, action, time)| (KvOp { key, action }, time));
        let ops: Vec<_> = timed(ops.collect()).into_iter().map(as_pending).collect();
        let both = check(&Kv, &ops, &Budget::default()).is_linearizable();
        let alone = |key| {
            let ops: Vec<_> = ops.iter().filter(|op| op.op.key == key).cloned().collect();
            check(&Kv, &ops, &Budget::default()).is_linearizable()
        };
        prop_assert_eq!(both, alone(0) && alone(1));
    }

    #[test]
    fn a_mutex(ops in prop::collection::vec((any::<bool>(), time()), 1..8)) {
        let action = |acquire| if acquire { MutexAction::Acquire } else { MutexAction::Release };
        let ops = ops.into_iter().map(|(a, time)| (MutexOp { key: 0, action: action(a) }, time));
        agree(&Mutex, &timed(ops.collect()), &[false, true], |held, operation| {
            let acquire = operation.op.action == MutexAction::Acquire;
            (*held != acquire).then_some(acquire)
        })?;
    }

    #[test]
    fn a_list(ops in prop::collection::vec((list_action(), time()), 1..8)) {
        // Elements are unique: the n-th append appends n.
        let mut count = 0;
        let number = |(mut action, time)| {
            if let ListAction::Append(element) = &mut action {
                count += 1;
                *element = count;
            }
            (ListOp { key: 0, action }, time)
        };
        let ops = timed(ops.into_iter().map(number).collect());
        let truth = every_order(&ops, &Vec::new(), &mut Vec::new(), &|state: &Vec<u64>, op| {
            let mut after = state.clone();
            match &op.op.action {
                ListAction::Append(element) => after.push(*element),
                ListAction::Read(seen) if op.returned() && **seen != **state => return None,
                ListAction::Read(_) => {}
            }
            Some(after)
        });
        let verdict = check(&List, &ops, &Budget::default());
        prop_assert_eq!(truth, verdict.is_linearizable(), "{} {:#?}", verdict, ops);
    }

    #[test]
    fn a_string(ops in prop::collection::vec((text_action(), time()), 1..8)) {
        let ops = ops.into_iter().map(|(action, time)| (TextOp { key: 0, action }, time));
        agree(&Text, &timed(ops.collect()), &[String::new()], |state, operation| {
            match &operation.op.action {
                TextAction::Put(text) => Some(text.to_string()),
                TextAction::Append(text) => Some(format!("{state}{text}")),
                TextAction::Get(seen) => {
                    (!operation.returned() || **seen == **state).then(|| state.clone())
                }
            }
        })?;
    }

    #[test]
    fn a_queue(ops in prop::collection::vec((prop::option::of(value()), time()), 1..8)) {
        let mut count = 0;
        let action = |dequeue: Option<Option<u64>>, pending| match dequeue {
            Some(_) if pending => QueueAction::DequeueUnseen,
            Some(seen) => QueueAction::Dequeue(seen),
            None => {
                count += 1;
                QueueAction::Enqueue(count)
            }
        };
        let mut action = action;
        let ops: Vec<_> = ops
            .into_iter()
            .map(|(dequeue, time)| (QueueOp { key: 0, action: action(dequeue, time.2) }, time))
            .collect();
        agree(&Queue, &timed(ops), &[Vec::new()], |state, operation| {
            let mut after: Vec<u64> = state.clone();
            match operation.op.action {
                QueueAction::Enqueue(element) => after.push(element),
                QueueAction::Dequeue(seen) if seen != state.first().copied() => return None,
                QueueAction::Dequeue(_) | QueueAction::DequeueUnseen => {
                    after.drain(..after.len().min(1));
                }
            }
            Some(after)
        })?;
    }

    #[test]
    fn several_registers(
        ops in prop::collection::vec(
            (prop::collection::vec((0..2_u64, any::<bool>(), value()), 1..3), time()), 1..7)
    ) {
        let access = |(register, read, value): (u64, bool, Option<u64>), pending: bool| {
            match (read, value) {
                (true, _) | (_, None) if pending => Access::Skip,
                (true, _) | (_, None) => Access::Read(register, value),
                (false, Some(value)) => Access::Write(register, value),
            }
        };
        let ops: Vec<_> = ops
            .into_iter()
            .map(|(steps, time)| {
                (steps.into_iter().map(|step| access(step, time.2)).collect::<Vec<_>>(), time)
            })
            .collect();
        let values = [None, Some(1), Some(2), Some(3), Some(9)];
        let starts: Vec<[Option<u64>; 2]> =
            values.iter().flat_map(|a| values.map(|b| [*a, b])).collect();
        agree(&Registers::default(), &timed(ops), &starts, |state, operation| {
            let mut after = *state;
            for step in &operation.op {
                match *step {
                    Access::Read(register, seen) if after[register as usize] != seen => return None,
                    Access::Read(..) | Access::Skip => {}
                    Access::Write(register, value) => after[register as usize] = Some(value),
                }
            }
            Some(after)
        })?;
    }
}

/// A spent budget is neither a pass nor a refusal.
#[test]
fn a_spent_budget_is_unknown() {
    // A hundred clients write the same two values at once: truly exponential.
    let op = |at: u64| KvOp {
        key: 0,
        action: match at % 3 {
            0 => KvAction::Get(Some(at % 2)),
            1 => KvAction::Put(0),
            _ => KvAction::Put(1),
        },
    };
    let operation = |at: u64| Operation { process: at, call: at, ret: at + 100, op: op(at) };
    let mut ops: Vec<_> = (0..400).map(operation).collect();
    ops[399].op.action = KvAction::Get(Some(7));
    ops[398].ret = Operation::<()>::PENDING;
    ops[398].op.action = KvAction::Cas { expected: Some(8), new: 7, succeeded: true };
    for (steps, states) in [(10_000, 1 << 20), (1 << 40, 50)] {
        let verdict = check(&Kv, &ops, &Budget { steps, states });
        assert!(!verdict.is_linearizable(), "{verdict}");
        assert!(
            matches!(verdict, Verdict::Unknown { .. }) || verdict.witness().is_some_and(|w| w.exact),
            "{verdict}"
        );
    }
}
