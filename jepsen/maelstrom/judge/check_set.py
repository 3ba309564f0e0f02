"""Sets that only grow: broadcast and g-set.

Rules, per element: what was acknowledged is in every read of the last phase (`lost`); what is read
was asked for, and not certainly refused (`phantom`); once in a read (`duplicate`). Figure: how long
after its acknowledgement an element was still missing from some read (`stable latency`).
"""

import json

from .history import Verdict


def quantile(values, q: float) -> float:
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


def check(history, add: str, nodes) -> Verdict:
    verdict = Verdict()
    key = lambda element: json.dumps(element, sort_keys=True)
    adds = {key(op.value): op for op in history if op.f == add}
    reads = [op for op in history if op.f == "read" and op.ok]
    missing_until = {}
    sets = []
    for read in reads:
        if not isinstance(read.result, list):
            verdict.bad("not-a-list", str(read))
            continue
        seen = [key(e) for e in read.result]
        present = set(seen)
        if len(present) != len(seen):
            twice = next(e for e in seen if seen.count(e) > 1)
            verdict.bad("duplicate", f"{twice} twice in one read of {read.node}")
        for element in present:
            if element not in adds:
                verdict.bad("phantom", f"{element} was read at {read.node} and never added")
            elif not adds[element].may_have_happened:
                verdict.bad("phantom", f"{element} was read at {read.node}, and its add failed: {adds[element]}")
        sets.append((read, present))
    acknowledged = {e: op for e, op in adds.items() if op.ok}
    for read, present in sets:
        for element, op in acknowledged.items():
            if element not in present and op.precedes(read):
                missing_until[element] = max(missing_until.get(element, 0), read.invoked)
                if read.final:
                    verdict.bad("lost", f"{element}, acknowledged at {op.completed / 1e6:.0f} ms by {op.node}, "
                                        f"is missing from the last read of {read.node}")
    asked_last = {read.node for read, _ in sets if read.final}
    for node in sorted(set(nodes) - asked_last):
        verdict.doubts.append(f"{node} answered no read of the last phase")
    stable = [max(0, missing_until.get(e, 0) - op.completed) / 1e6 for e, op in acknowledged.items()]
    verdict.figures.update(stable_median_ms=quantile(stable, 0.5), stable_max_ms=max(stable, default=0.0))
    return verdict
