"""Logs: kafka.

    one-place        a message has one offset, an offset one message
    phantom          a polled message was sent, and its send did not certainly fail
    order            offsets rise within an answer, and none is below the one asked for
    external-order   a send that began after another had ended comes behind it
    lost             acknowledged, and missing from the last polls
    skipped          a poll went past an acknowledged or elsewhere seen message without it
    commit           a committed offset was committed by somebody, and no newer and higher commit hides it
"""

import json

from .history import Verdict


def check(history, nodes) -> Verdict:
    verdict = Verdict()
    sends = {}
    for op in history:
        if op.f == "send":
            sends[(op.value[0], json.dumps(op.value[1]))] = op
    places = places_of(history, sends, verdict)
    ranges = polled_ranges(history, sends, places, verdict)
    external_order(sends, verdict)
    skipped(ranges, places, verdict)
    last_polls(history, sends, nodes, verdict)
    commits(history, verdict)
    return verdict


def places_of(history, sends, verdict) -> dict:
    """(key, offset) -> message, from acknowledgements and polls."""
    places, offsets = {}, {}

    def put(k, offset, message, op):
        text = json.dumps(message)
        if places.setdefault((k, offset), text) != text:
            verdict.bad("one-place", f"key {k}: offset {offset} is {places[(k, offset)]} and {text}: {op}")
        if offsets.setdefault((k, text), offset) != offset:
            verdict.bad("one-place", f"key {k}: {text} is at {offsets[(k, text)]} and {offset}: {op}")

    for op in history:
        if op.f == "send" and op.ok:
            put(op.value[0], op.result, op.value[1], op)
        elif op.f == "poll" and op.ok:
            for k, pairs in op.result.items():
                for offset, message in pairs:
                    put(k, offset, message, op)
    return places


def polled_ranges(history, sends, places, verdict):
    """(operation, key, from, to, offsets seen) of every answer that has messages."""
    out = []
    for op in history:
        if op.f != "poll" or not op.ok:
            continue
        for k, pairs in op.result.items():
            before = op.value.get(k, 0) - 1
            for offset, message in pairs:
                if offset <= before:
                    verdict.bad("order", f"key {k}: {offset} does not rise: {op}")
                before = offset
                send = sends.get((k, json.dumps(message)))
                if send is None or not send.may_have_happened:
                    verdict.bad("phantom", f"key {k}: {message} was never sent, or its send failed: {op}")
            if pairs:
                out.append((op, k, op.value.get(k, 0), pairs[-1][0], {o for o, _ in pairs}))
    return out


def external_order(sends, verdict) -> None:
    by_key = {}
    for (k, _), op in sends.items():
        if op.ok:
            by_key.setdefault(k, []).append(op)
    for k, ops in by_key.items():
        ended = sorted(ops, key=lambda op: op.completed)
        highest, nth = None, 0
        for op in sorted(ops, key=lambda op: op.invoked):
            while ended[nth].completed < op.invoked:
                if highest is None or ended[nth].result > highest.result:
                    highest = ended[nth]
                nth += 1
            if highest is not None and highest.result >= op.result:
                verdict.bad("external-order", f"key {k}: {op} is not behind {highest}")


def skipped(ranges, places, verdict) -> None:
    by_key = {}
    for k, offset in places:
        by_key.setdefault(k, []).append(offset)
    for op, k, first, last, seen in ranges:
        for offset in by_key[k]:
            if first <= offset <= last and offset not in seen:
                verdict.bad("skipped", f"key {k}: went from {first} to {last} without {offset}: {op}")


def last_polls(history, sends, nodes, verdict) -> None:
    read, asked = {}, set()
    for op in history:
        if op.f == "poll" and op.final and op.ok:
            asked.add(op.node)
            for k, pairs in op.result.items():
                read.setdefault(op.node, set()).update((k, json.dumps(m)) for _, m in pairs)
    for node in sorted(set(nodes) - asked):
        verdict.doubts.append(f"{node} answered no poll of the last phase")
    for node in sorted(asked):
        for key, op in sends.items():
            if op.ok and key not in read.get(node, ()):
                verdict.bad("lost", f"{op} is missing from the last polls of {node}")


def commits(history, verdict) -> None:
    made = {}
    for op in history:
        if op.f == "commit" and op.may_have_happened:
            for k, offset in op.value.items():
                made.setdefault(k, []).append((offset, op))
    for op in history:
        if op.f != "list" or not op.ok:
            continue
        for k, offset in op.result.items():
            if offset is None:
                continue
            same = [c for o, c in made.get(k, ()) if o == offset and c.invoked < op.completed]
            if not same:
                verdict.bad("commit", f"key {k}: nobody committed {offset}: {op}")
            hidden = [c for c in same if hides(made[k], c, offset, op)]
            if same and len(hidden) == len(same):
                verdict.bad("commit", f"key {k}: {offset} is hidden by a newer and higher commit: {op}")
        for k, commits_of in made.items():
            if k in op.value and k not in op.result and any(c.precedes(op) for _, c in commits_of):
                verdict.bad("commit", f"key {k} was committed, and {op} knows nothing of it")


def hides(commits_of, old, offset, listed) -> bool:
    """Old under both readings of a commit (the last one wins, the highest wins)."""
    return any(old.precedes(c) and c.precedes(listed) and o > offset for o, c in commits_of)
