"""Echo and unique numbers."""

import json

from .history import Verdict


def echo(history) -> Verdict:
    verdict = Verdict()
    for op in history:
        if op.ok and op.result != op.value:
            verdict.bad("altered", f"what was echoed is not what was sent: {op}")
    return verdict


def unique_ids(history) -> Verdict:
    verdict, first = Verdict(), {}
    for op in history:
        if op.ok:
            key = json.dumps(op.result, sort_keys=True)
            if op.result is None:
                verdict.bad("no-id", str(op))
            elif key in first:
                verdict.bad("given-twice", f"{key}: {first[key]} and {op}")
            else:
                first[key] = op
    return verdict
