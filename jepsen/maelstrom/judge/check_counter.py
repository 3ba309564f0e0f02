"""Counters: g-counter and pn-counter.

A read lies between the least and the most that the adds begun before its end can make; a read of
the last phase is one of the sums that the acknowledged adds and some of the open ones make.
"""

from .history import Verdict


def sums(base: int, open_deltas) -> tuple:
    """All sums, as a bit set: bit i stands for `low + i`."""
    low = base + sum(d for d in open_deltas if d < 0)
    bits = 1 << (base - low)
    for delta in open_deltas:
        bits |= bits << delta if delta >= 0 else bits >> -delta
    return low, bits


def check(history, nodes) -> Verdict:
    verdict = Verdict()
    adds = [op for op in history if op.f == "add" and op.may_have_happened]
    low, bits = sums(sum(op.value for op in adds if op.ok), [op.value for op in adds if not op.ok])
    finals = {}
    for read in history:
        if read.f != "read" or not read.ok:
            continue
        value = read.result
        if not isinstance(value, int) or isinstance(value, bool):
            verdict.bad("not-a-number", str(read))
            continue
        begun = [op.value for op in adds if op.invoked < read.completed]
        least, most = sum(d for d in begun if d < 0), sum(d for d in begun if d > 0)
        if not least <= value <= most:
            verdict.bad("impossible", f"{read}: nothing outside {least}..{most} is possible")
        if read.final:
            finals[read.node] = value
            if value < low or not bits >> (value - low) & 1:
                sure = sum(op.value for op in adds if op.ok)
                verdict.bad("wrong-sum", f"the last read of {read.node} is {value}; acknowledged adds make {sure}, "
                                         f"{sum(not op.ok for op in adds)} are open")
    if len(set(finals.values())) > 1:
        verdict.bad("diverged", f"the last reads differ: {finals}")
    for node in sorted(set(nodes) - set(finals)):
        verdict.doubts.append(f"{node} answered no read of the last phase")
    return verdict
