"""Transactions of appends and reads of lists, strictly serializable (Elle's list-append).

A list tells its own history: every read is a prefix of the longest. From that order come the
edges; besides, reads of what never happened, of what was undone in the midst, of what a
transaction itself contradicts.
"""

from .graph import Graph
from .history import Verdict


def check(history) -> Verdict:
    verdict = Verdict()
    txns = {i: op for i, op in enumerate(history) if op.f == "txn"}
    writers, last_of = writers_of(txns)
    live = {i: op for i, op in txns.items() if op.ok}
    longest = {}
    for i, op in live.items():
        if not well_formed(op):
            verdict.bad("malformed", str(op))
            return verdict
        internal(op, verdict)
        for f, k, v in op.result:
            if f == "r" and v:
                if len(set(map(repr, v))) != len(v):
                    verdict.bad("duplicate", f"key {k}: {op}")
                if len(v) > len(longest.get(k, [])):
                    longest[k] = v
    for i, op in live.items():
        for k, v in outer_reads(op):
            if v != longest.get(k, [])[: len(v)]:
                verdict.bad("incompatible-order", f"key {k}: {v} is no prefix of {longest[k]}: {op}")
            judge_elements(i, k, v, writers, last_of, txns, verdict, op)
    if verdict.violations:
        return verdict
    graph, seen = Graph(), dict(live)
    for k, order in longest.items():
        for element in order:
            writer = writers[(k, element)]
            seen[writer] = txns[writer]
    edges(graph, live, longest, writers)
    graph.judge(seen, verdict)
    return verdict


def writers_of(txns):
    """Who appended an element, and the last element each transaction appended to a key."""
    writers, last_of = {}, {}
    for i, op in txns.items():
        for f, k, v in op.value:
            if f == "append":
                writers[(k, v)] = i
                last_of[(i, k)] = v
    return writers, last_of


def well_formed(op) -> bool:
    if not isinstance(op.result, list) or len(op.result) != len(op.value):
        return False
    for asked, told in zip(op.value, op.result):
        if not isinstance(told, list) or len(told) != 3 or told[:2] != asked[:2]:
            return False
        if asked[0] == "append" and told[2] != asked[2]:
            return False
        if asked[0] == "r" and not (told[2] is None or isinstance(told[2], list)):
            return False
    return True


def internal(op, verdict) -> None:
    """A read shows what the transaction itself has read and appended before."""
    known, suffix = {}, {}
    for f, k, v in op.result:
        if f == "append":
            if k in known:
                known[k] = known[k] + [v]
            else:
                suffix.setdefault(k, []).append(v)
            continue
        v = v or []
        mine = suffix.get(k, [])
        if k in known:
            if v != known[k]:
                verdict.bad("internal", f"key {k}: expected {known[k]}: {op}")
        elif mine and v[-len(mine):] != mine:
            verdict.bad("internal", f"key {k}: should end with {mine}: {op}")
        known[k] = v


def outer_reads(op):
    """What each key held before the transaction, as far as it read it: once per key."""
    appended, told = {}, set()
    for f, k, v in op.result:
        if f == "append":
            appended[k] = appended.get(k, 0) + 1
        elif k not in told:
            told.add(k)
            v = v or []
            own = appended.get(k, 0)
            yield k, v[: len(v) - own] if own else v


def judge_elements(i, k, v, writers, last_of, txns, verdict, op) -> None:
    for element in v:
        writer = writers.get((k, element))
        if writer is None:
            verdict.bad("phantom", f"key {k}: {element} was never appended: {op}")
        elif not txns[writer].may_have_happened:
            verdict.bad("G1a", f"key {k}: {element} was read and its append had failed: {txns[writer]} read by {op}")
        elif writer == i:
            verdict.bad("internal", f"key {k}: {element} was read before it was appended: {op}")
    if v:
        writer = writers.get((k, v[-1]))
        if writer is not None and writer != i and last_of[(writer, k)] != v[-1]:
            verdict.bad("G1b", f"key {k}: read between two appends of one transaction: {op}")


def edges(graph, live, longest, writers) -> None:
    by_key = {}
    for (k, element), writer in writers.items():
        by_key.setdefault(k, []).append((element, writer))
    for k, order in longest.items():
        chain = [writers[(k, e)] for e in order]
        for a, b in zip(chain, chain[1:]):
            graph.add(a, b, "ww", f"key {k}")
    for i, op in live.items():
        for k, v in outer_reads(op):
            order = longest.get(k, [])
            if v:
                graph.add(writers[(k, v[-1])], i, "wr", f"key {k}")
            if len(v) < len(order):
                graph.add(i, writers[(k, order[len(v)])], "rw", f"key {k}")
            # What nobody has seen yet comes after everything seen.
            shown = set(order)
            for element, writer in by_key.get(k, ()):
                if element not in shown and writer in live:
                    graph.add(i, writer, "rw", f"key {k}")
    for k, order in longest.items():
        shown = set(order)
        for element, writer in by_key.get(k, ()):
            if order and element not in shown and writer in live:
                graph.add(writers[(k, order[-1])], writer, "ww", f"key {k}")
