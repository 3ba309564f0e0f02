"""Linearizability of a key-value store, key by key: Wing and Gong's search with Lowe's memory.

A state is (which operations have taken effect, the value). An operation may take effect next if
no other that has not was over before it began. Open operations (`info`) may take effect at any
time after their begin, or never.
"""

from .history import Verdict

STATES_MAX = 400_000
# A key that does not exist; nobody writes it.
ABSENT = None


def step(op, value):
    """What holds after `op` took effect on `value`, as a tuple; None if it can't have, with its answer."""
    if op.f == "read":
        return (value,) if not op.ok or same(op.result, value) else None
    if op.f == "write":
        return (op.value[1],)
    old, new = op.value[1]
    return (new,) if same(value, old) else None


def same(read, value) -> bool:
    return type(read) is type(value) and read == value


def search(ops):
    """True, False or None (too many states), and the longest run of effects found."""
    ops = sorted(ops, key=lambda op: op.invoked)
    sure = sum(1 << i for i, op in enumerate(ops) if op.ok)
    ends = [op.completed if op.ok else None for op in ops]
    start = (0, ABSENT)
    seen, stack, best = {(0, repr(ABSENT))}, [start], start
    while stack:
        done, value = stack.pop()
        if done & sure == sure:
            return True, None
        if bin(done & sure).count("1") > bin(best[0] & sure).count("1"):
            best = (done, value)
        horizon = min((ends[i] for i in range(len(ops)) if not done >> i & 1 and ends[i] is not None))
        for i, op in enumerate(ops):
            if op.invoked > horizon:
                break
            if done >> i & 1:
                continue
            after = step(op, value)
            if after is None:
                continue
            state = (done | 1 << i, after[0])
            key = (state[0], repr(state[1]))
            if key not in seen:
                if len(seen) >= STATES_MAX:
                    return None, best
                seen.add(key)
                stack.append(state)
    return False, best


def check(history) -> Verdict:
    verdict, by_key = Verdict(), {}
    for op in history:
        useless = op.f == "read" and not op.ok
        if op.may_have_happened and not useless:
            key = op.value if op.f == "read" else op.value[0]
            by_key.setdefault(key, []).append(op)
        elif op.outcome == "fail":
            judge_refusal(op, verdict)
    for key, ops in sorted(by_key.items(), key=lambda e: repr(e[0])):
        found, best = search(ops)
        if found is None:
            verdict.doubts.append(f"key {key}: no verdict within {STATES_MAX} states")
        elif not found:
            ordered = sorted(ops, key=lambda op: op.invoked)
            stuck = [op for i, op in enumerate(ordered) if op.ok and not best[0] >> i & 1]
            at = "nothing" if best[1] is ABSENT else repr(best[1])
            around = "\n      ".join(str(op) for op in stuck[:6])
            verdict.bad("not-linearizable", f"key {key}: with the value {at} nothing can go on; still open:\n      {around}")
    return verdict


def judge_refusal(op, verdict) -> None:
    """An error that makes no sense for what was asked."""
    code = op.error[0] if isinstance(op.error, (list, tuple)) else None
    if code == 22 and op.f != "cas":
        verdict.bad("wrong-error", f"22 (precondition failed) for no cas: {op}")
