"""Operations and how they are written down."""

import json
from dataclasses import dataclass, field
from typing import Any, Optional

INDEFINITE = (0, 13)


def outcome_of(code: int) -> str:
    """`info` if an error with this code leaves the outcome open, else `fail`."""
    return "info" if code in INDEFINITE or code >= 1000 else "fail"


@dataclass
class Operation:
    """One operation of one process. Times are nanoseconds since the run began."""

    process: int
    node: str
    f: str
    value: Any
    invoked: int
    completed: Optional[int] = None
    outcome: str = "info"
    result: Any = None
    error: Any = None
    final: bool = False

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def may_have_happened(self) -> bool:
        return self.outcome != "fail"

    def precedes(self, other: "Operation") -> bool:
        """Whether it was over, and known to have happened, before the other began."""
        return self.ok and self.completed is not None and self.completed < other.invoked

    def __str__(self) -> str:
        said = self.result if self.ok else f"{self.outcome} {self.error}"
        return f"[{self.invoked / 1e6:.0f} ms, process {self.process} at {self.node}] {self.f} {self.value} -> {said}"


@dataclass
class Violation:
    """A broken rule, by name, and what shows it."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass
class Verdict:
    """What a checker says: violations, doubts that leave the verdict open, and figures."""

    violations: list = field(default_factory=list)
    doubts: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)

    def bad(self, rule: str, text: str) -> None:
        self.violations.append(Violation(rule, text))

    def rules(self) -> set:
        return {v.rule for v in self.violations}


def events(operations):
    """Invocations and completions in the order of time, as Jepsen writes them."""
    out = []
    for nth, op in enumerate(operations):
        out.append((op.invoked, 0, nth, "invoke", op.value, op))
        if op.completed is not None:
            value = op.result if op.ok and op.result is not None else op.value
            out.append((op.completed, 1, nth, op.outcome, value, op))
    out.sort(key=lambda e: e[:3])
    for index, (time, _, _, kind, value, op) in enumerate(out):
        event = {"index": index, "time": time, "type": kind, "process": op.process, "f": op.f, "value": value}
        if kind in ("fail", "info") and op.error is not None:
            event["error"] = op.error
        if op.final:
            event["final"] = True
        yield event


class Word(str):
    """A string that EDN writes as a keyword."""


def edn(value) -> str:
    if value is None:
        return "nil"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, Word):
        return ":" + value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{edn(k)} {edn(v)}" for k, v in value.items()) + "}"
    return "[" + " ".join(edn(v) for v in value) + "]"


def edn_event(event) -> str:
    """One event as Jepsen's readers take it: `:f`, `:type` and a transaction's verbs are keywords."""
    value = event["value"]
    if event["f"] == "txn":
        value = [[Word(f), k, v] for f, k, v in value or []]
    out = {Word(k): v for k, v in event.items()}
    out[Word("type")] = Word(event["type"])
    out[Word("f")] = Word(event["f"].replace("_", "-"))
    out[Word("value")] = value
    return edn(out)


def write(operations, folder) -> None:
    """`history.jsonl` and `history.edn` under `folder`."""
    with open(folder / "history.jsonl", "w", encoding="utf-8") as lines, open(
        folder / "history.edn", "w", encoding="utf-8"
    ) as out:
        for event in events(operations):
            lines.write(json.dumps(event) + "\n")
            out.write(edn_event(event) + "\n")
