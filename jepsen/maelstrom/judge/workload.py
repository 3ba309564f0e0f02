"""What is asked, per workload: operations, their bodies, what answers mean, who judges.

A workload is one value per run. `next` draws an operation; `body` says it in the protocol's
words; `answer` takes the result out of a good answer (raising `ValueError` for one that is none);
`last` lists what each node is asked when all is quiet; `check` judges.
"""

import random

from . import check_append, check_counter, check_kafka, check_linear, check_register, check_set, check_simple

KEYS_AT_ONCE = 4


def need(condition, answer) -> None:
    if not condition:
        raise ValueError(f"an answer that is none: {answer}")


class Workload:
    name = ""
    # Operations that must have succeeded at least once, or the run has shown nothing.
    kinds = ()

    def __init__(self, nodes, seed: int):
        self.nodes, self.count = nodes, 0
        self.rng = random.Random(f"{seed}/{self.name}")

    def setup(self, topology) -> list:
        """(node, body) asked before anything else."""
        return []

    def fresh(self) -> int:
        self.count += 1
        return self.count

    def last(self, node) -> list:
        return []

    def refused(self, f: str, code: int):
        """The result of an error that is an answer, or `...`: it is none."""
        return ...

    def follow(self, op):
        """One more last operation after this one, or None."""
        return None


class Echo(Workload):
    name, kinds = "echo", ("echo",)

    def next(self, worker):
        return "echo", f"Please echo {self.rng.randrange(128)}"

    def body(self, f, value):
        return {"type": "echo", "echo": value}

    def answer(self, f, value, answer):
        return answer.get("echo")

    def check(self, history):
        return check_simple.echo(history)


class UniqueIds(Workload):
    name, kinds = "unique-ids", ("generate",)

    def next(self, worker):
        return "generate", None

    def body(self, f, value):
        return {"type": "generate"}

    def answer(self, f, value, answer):
        return answer.get("id")

    def check(self, history):
        return check_simple.unique_ids(history)


class Broadcast(Workload):
    name, kinds = "broadcast", ("broadcast", "read")

    def setup(self, topology):
        return [(n, {"type": "topology", "topology": topology}) for n in self.nodes]

    def next(self, worker):
        return ("broadcast", self.fresh()) if self.rng.random() < 0.5 else ("read", None)

    def body(self, f, value):
        return {"type": "broadcast", "message": value} if f == "broadcast" else {"type": "read"}

    def answer(self, f, value, answer):
        need(f != "read" or isinstance(answer.get("messages"), list), answer)
        return answer["messages"] if f == "read" else None

    def last(self, node):
        return [("read", None)]

    def check(self, history):
        return check_set.check(history, "broadcast", self.nodes)


class GSet(Workload):
    name, kinds = "g-set", ("add", "read")

    def next(self, worker):
        return ("add", self.fresh()) if self.rng.random() < 0.5 else ("read", None)

    def body(self, f, value):
        return {"type": "add", "element": value} if f == "add" else {"type": "read"}

    def answer(self, f, value, answer):
        need(f != "read" or isinstance(answer.get("value"), list), answer)
        return answer["value"] if f == "read" else None

    def last(self, node):
        return [("read", None)]

    def check(self, history):
        return check_set.check(history, "add", self.nodes)


class GCounter(Workload):
    name, kinds, least = "g-counter", ("add", "read"), 0

    def next(self, worker):
        return ("add", self.rng.randint(self.least, 5)) if self.rng.random() < 0.5 else ("read", None)

    def body(self, f, value):
        return {"type": "add", "delta": value} if f == "add" else {"type": "read"}

    def answer(self, f, value, answer):
        return answer.get("value") if f == "read" else None

    def last(self, node):
        return [("read", None)]

    def check(self, history):
        return check_counter.check(history, self.nodes)


class PnCounter(GCounter):
    name, least = "pn-counter", -5


class LinKv(Workload):
    """Few operations on a key, so that a search is short; some keys at once."""

    name, kinds, per_key = "lin-kv", ("read", "write", "cas"), 60

    def next(self, worker):
        nth = self.fresh()
        key = nth // (self.per_key * KEYS_AT_ONCE) * KEYS_AT_ONCE + self.rng.randrange(KEYS_AT_ONCE)
        draw = self.rng.random()
        if draw < 0.45:
            return "read", key
        if draw < 0.75:
            return "write", [key, self.rng.randrange(5)]
        return "cas", [key, [self.rng.randrange(5), self.rng.randrange(5)]]

    def body(self, f, value):
        if f == "read":
            return {"type": "read", "key": value}
        if f == "write":
            return {"type": "write", "key": value[0], "value": value[1]}
        return {"type": "cas", "key": value[0], "from": value[1][0], "to": value[1][1]}

    def answer(self, f, value, answer):
        need(f != "read" or "value" in answer, answer)
        return answer["value"] if f == "read" else None

    def refused(self, f, code):
        # "No such key" is what a read saw.
        return None if (f, code) == ("read", 20) else ...

    def check(self, history):
        return check_linear.check(history)


class Txn(Workload):
    kinds, verb, per_key = ("txn",), "", 32

    def next(self, worker):
        mops = []
        for _ in range(self.rng.randint(1, 4)):
            base = self.count // self.per_key
            key = base + self.rng.randrange(KEYS_AT_ONCE)
            if self.rng.random() < 0.5:
                mops.append(["r", key, None])
            else:
                mops.append([self.verb, key, self.fresh()])
        return "txn", mops

    def body(self, f, value):
        return {"type": "txn", "txn": value}

    def answer(self, f, value, answer):
        need(isinstance(answer.get("txn"), list), answer)
        return answer["txn"]

    def last(self, node):
        # Every key once more: an append that nobody reads can't be missed.
        top = self.count // self.per_key + KEYS_AT_ONCE
        return [("txn", [["r", k, None] for k in range(at, min(at + 8, top))]) for at in range(0, top, 8)]


class ListAppend(Txn):
    name, verb = "txn-list-append", "append"

    def check(self, history):
        return check_append.check(history)


class RwRegister(Txn):
    name, verb = "txn-rw-register", "w"

    def check(self, history):
        return check_register.check(history)


class Kafka(Workload):
    """Each worker polls on from where it was, and now and then commits how far it came."""

    name, kinds = "kafka", ("send", "poll", "commit", "list")
    keys = [f"k{n}" for n in range(KEYS_AT_ONCE)]

    def __init__(self, nodes, seed):
        super().__init__(nodes, seed)
        self.positions = {}

    def next(self, worker):
        draw, mine = self.rng.random(), self.positions.setdefault(worker, {})
        if draw < 0.5:
            return "send", [self.rng.choice(self.keys), self.fresh()]
        if draw < 0.85:
            return "poll", {k: mine.get(k, 0) for k in self.keys}
        seen = {k: offset - 1 for k, offset in mine.items() if offset > 0}
        if draw < 0.93 and seen:
            return "commit", seen
        return "list", list(self.keys)

    def body(self, f, value):
        if f == "send":
            return {"type": "send", "key": value[0], "msg": value[1]}
        if f == "poll":
            return {"type": "poll", "offsets": value}
        if f == "commit":
            return {"type": "commit_offsets", "offsets": value}
        return {"type": "list_committed_offsets", "keys": value}

    def answer(self, f, value, answer):
        if f == "send":
            need(isinstance(answer.get("offset"), int), answer)
            return answer["offset"]
        if f == "poll":
            told = answer.get("msgs")
            need(isinstance(told, dict), answer)
            pairs = [p for of_key in told.values() for p in of_key]
            need(all(isinstance(p, list) and len(p) == 2 and isinstance(p[0], int) for p in pairs), answer)
            return told
        if f == "list":
            need(isinstance(answer.get("offsets"), dict), answer)
            return answer["offsets"]
        return None

    def polled(self, worker, result) -> None:
        for k, pairs in result.items():
            if pairs:
                self.positions.setdefault(worker, {})[k] = pairs[-1][0] + 1

    def last(self, node):
        return [("poll", {k: 0 for k in self.keys})]

    def follow(self, op):
        if op.f != "poll" or not any(op.result.values()):
            return None
        ahead = {k: pairs[-1][0] + 1 for k, pairs in op.result.items() if pairs}
        return "poll", {**op.value, **ahead}

    def check(self, history):
        return check_kafka.check(history, self.nodes)


ALL = {w.name: w for w in (Echo, UniqueIds, Broadcast, GSet, GCounter, PnCounter, LinKv, ListAppend, RwRegister, Kafka)}
