"""Transactions of reads and writes of registers, strictly serializable (Elle's rw-register).

Written values are unique, so a read names its writer. The order of a key's versions is known in
part: nothing comes before everything; what a transaction read comes before what it wrote; of two
writers, one over before the other began, the first wrote the older version.
"""

from .graph import Graph
from .history import Verdict


def check(history) -> Verdict:
    verdict = Verdict()
    txns = {i: op for i, op in enumerate(history) if op.f == "txn"}
    writers, last_of = {}, {}
    for i, op in txns.items():
        for f, k, v in op.value:
            if f == "w":
                writers[(k, v)] = i
                last_of[(i, k)] = v
    live = {i: op for i, op in txns.items() if op.ok}
    reads = {}
    for i, op in live.items():
        if not well_formed(op):
            verdict.bad("malformed", str(op))
            return verdict
        reads[i] = outer_reads(op, verdict)
        for k, v in reads[i].items():
            judge_read(i, k, v, writers, last_of, txns, verdict, op)
    if verdict.violations:
        return verdict
    seen = dict(live)
    for i, of_txn in reads.items():
        for k, v in of_txn.items():
            if v is not None:
                seen[writers[(k, v)]] = txns[writers[(k, v)]]
    graph = Graph()
    edges(graph, seen, reads, writers, last_of)
    graph.judge(seen, verdict)
    return verdict


def well_formed(op) -> bool:
    if not isinstance(op.result, list) or len(op.result) != len(op.value):
        return False
    return all(
        isinstance(told, list) and len(told) == 3 and told[:2] == asked[:2] and (asked[0] == "r" or told[2] == asked[2])
        for asked, told in zip(op.value, op.result)
    )


def outer_reads(op, verdict) -> dict:
    """The first read of each key before the transaction wrote it; contradictions are told."""
    known, out = {}, {}
    for f, k, v in op.result:
        if f == "w":
            known[k] = v
        elif k in known:
            if v != known[k]:
                verdict.bad("internal", f"key {k}: expected {known[k]}: {op}")
        else:
            known[k] = out[k] = v
    return out


def judge_read(i, k, v, writers, last_of, txns, verdict, op) -> None:
    if v is None:
        return
    writer = writers.get((k, v))
    if writer is None:
        verdict.bad("phantom", f"key {k}: {v} was never written: {op}")
    elif not txns[writer].may_have_happened:
        verdict.bad("G1a", f"key {k}: {v} was read and its write had failed: {txns[writer]} read by {op}")
    elif writer == i:
        verdict.bad("internal", f"key {k}: {v} was read before it was written: {op}")
    elif last_of[(writer, k)] != v:
        verdict.bad("G1b", f"key {k}: {v} was replaced inside its own transaction: {op}")


def edges(graph, seen, reads, writers, last_of) -> None:
    written = {}
    for (i, k), v in last_of.items():
        if i in seen:
            written.setdefault(k, []).append(i)
    readers = {}
    for i, of_txn in reads.items():
        for k, v in of_txn.items():
            readers.setdefault((k, v), []).append(i)
            if v is not None:
                graph.add(writers[(k, v)], i, "wr", f"key {k}")
    for k, who in written.items():
        for newer in who:
            for older in who:
                value = last_of[(older, k)]
                replaced = reads.get(newer, {}).get(k, ...) == value
                if older != newer and (replaced or seen[older].precedes(seen[newer])):
                    graph.add(older, newer, "ww", f"key {k}")
                    for reader in readers.get((k, value), ()):
                        graph.add(reader, newer, "rw", f"key {k}")
            for reader in readers.get((k, None), ()):
                graph.add(reader, newer, "rw", f"key {k}")
