"""The rules, on histories small enough to judge by eye; and the network's promises."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from judge import check_append, check_counter, check_kafka, check_linear, check_register, check_set, check_simple  # noqa: E402
from judge.history import Operation, edn_event, events, outcome_of  # noqa: E402
from judge.nemesis import cuts  # noqa: E402
from judge.network import Latency, Network  # noqa: E402


def op(f, value, begin, end, result=None, outcome="ok", process=0, node="n0", final=False, error=None):
    """An operation from `begin` to `end`, in milliseconds."""
    return Operation(process, node, f, value, begin * 1_000_000, end * 1_000_000, outcome, result, error, final)


def write(key, value, begin, end, **more):
    return op("write", [key, value], begin, end, **more)


def read(key, result, begin, end, **more):
    return op("read", key, begin, end, result=result, **more)


def cas(key, old, new, begin, end, **more):
    return op("cas", [key, [old, new]], begin, end, **more)


def txn(begin, end, *mops, outcome="ok", result=None):
    asked = [[f, k, None if f == "r" else v] for f, k, v in mops]
    told = [list(m) for m in mops] if outcome == "ok" else None
    return op("txn", asked, begin, end, result=told, outcome=outcome)


class Linear(unittest.TestCase):
    CASES = [
        ("reads what was written", True, [write(1, 3, 0, 1), read(1, 3, 2, 3)]),
        ("a key nobody wrote is absent", True, [read(1, None, 0, 1), write(1, 3, 2, 3)]),
        ("a stale read", False, [write(1, 3, 0, 1), write(1, 4, 2, 3), read(1, 3, 4, 5)]),
        ("an absent read behind a write", False, [write(1, 3, 0, 1), read(1, None, 2, 3)]),
        ("a value nobody wrote", False, [write(1, 3, 0, 1), read(1, 7, 2, 3)]),
        ("concurrent: either order", True, [write(1, 3, 0, 9), write(1, 4, 0, 9), read(1, 3, 10, 11)]),
        ("two readers disagree on the order", False,
         [write(1, 3, 0, 1), write(1, 4, 2, 9), read(1, 4, 3, 4), read(1, 3, 5, 6)]),
        ("an open write may have happened", True, [write(1, 3, 0, 1, outcome="info"), read(1, 3, 50, 51)]),
        ("or never", True, [write(1, 3, 0, 1, outcome="info"), read(1, None, 50, 51)]),
        ("but does not come and go", False,
         [write(1, 3, 0, 1, outcome="info"), read(1, 3, 5, 6), read(1, None, 7, 8)]),
        ("a failed write did not happen", False, [write(1, 3, 0, 1, outcome="fail"), read(1, 3, 5, 6)]),
        ("cas from the value there", True, [write(1, 3, 0, 1), cas(1, 3, 4, 2, 3), read(1, 4, 4, 5)]),
        ("cas from another value", False, [write(1, 3, 0, 1), cas(1, 2, 4, 2, 3)]),
        ("two cas from one value", False, [write(1, 3, 0, 1), cas(1, 3, 4, 2, 5), cas(1, 3, 5, 2, 5)]),
        ("keys are apart", True, [write(1, 3, 0, 1), write(2, 4, 0, 1), read(1, 3, 2, 3), read(2, 4, 2, 3)]),
        ("1 is not true", False, [write(1, 1, 0, 1), read(1, True, 2, 3)]),
    ]

    def test_cases(self):
        for name, good, history in self.CASES:
            with self.subTest(name):
                self.assertEqual(not check_linear.check(history).violations, good)

    def test_a_search_without_end_is_no_verdict(self):
        held, check_linear.STATES_MAX = check_linear.STATES_MAX, 50
        try:
            history = [write(1, i, 0, 99) for i in range(12)] + [read(1, 77, 100, 101)]
            verdict = check_linear.check(history)
        finally:
            check_linear.STATES_MAX = held
        self.assertTrue(verdict.doubts and not verdict.violations)


class Append(unittest.TestCase):
    CASES = [
        ("in order", None, [txn(0, 1, ("append", 1, 1)), txn(2, 3, ("append", 1, 2)), txn(4, 5, ("r", 1, [1, 2]))]),
        ("own appends are seen", None, [txn(0, 1, ("append", 1, 1), ("r", 1, [1]), ("append", 1, 2), ("r", 1, [1, 2]))]),
        ("own appends are not seen", "internal", [txn(0, 1, ("append", 1, 1), ("r", 1, []))]),
        ("two reads of one transaction differ", "internal",
         [txn(0, 1, ("append", 1, 1)), txn(0, 9, ("r", 1, []), ("r", 1, [1]))]),
        ("an open append may be seen", None, [txn(0, 1, ("append", 1, 1), outcome="info"), txn(5, 6, ("r", 1, [1]))]),
        ("a failed one may not", "G1a", [txn(0, 1, ("append", 1, 1), outcome="fail"), txn(5, 6, ("r", 1, [1]))]),
        ("from nowhere", "phantom", [txn(0, 1, ("r", 1, [9]))]),
        ("twice", "duplicate", [txn(0, 1, ("append", 1, 1)), txn(2, 3, ("r", 1, [1, 1]))]),
        ("half a transaction", "G1b", [txn(0, 9, ("append", 1, 1), ("append", 1, 2)), txn(3, 4, ("r", 1, [1]))]),
        ("two orders", "incompatible-order",
         [txn(0, 9, ("append", 1, 1)), txn(0, 9, ("append", 1, 2)), txn(10, 11, ("r", 1, [1, 2])), txn(10, 11, ("r", 1, [2, 1]))]),
        ("lost", "G-single-realtime", [txn(0, 1, ("append", 1, 1)), txn(2, 3, ("r", 1, []))]),
        ("lost under others", "G0-realtime",
         [txn(0, 1, ("append", 1, 1)), txn(2, 3, ("append", 1, 2)), txn(4, 5, ("r", 1, [2]))]),
        ("write skew", "G2", [txn(0, 9, ("r", 1, []), ("append", 2, 1)), txn(0, 9, ("r", 2, []), ("append", 1, 2)),
                              txn(10, 11, ("r", 1, [2]), ("r", 2, [1]))]),
        ("circular information", "G1c",
         [txn(0, 9, ("append", 1, 1), ("r", 2, [2])), txn(0, 9, ("append", 2, 2), ("r", 1, [1]))]),
        ("a fractured read", "G-single",
         [txn(0, 9, ("append", 1, 1), ("append", 2, 2)), txn(0, 9, ("r", 1, [1]), ("r", 2, []))]),
        ("another answer than asked", "malformed", [op("txn", [["r", 1, None]], 0, 1, result=[["r", 2, []]])]),
    ]

    def test_cases(self):
        for name, rule, history in self.CASES:
            with self.subTest(name):
                rules = check_append.check(history).rules()
                self.assertTrue(rule in rules if rule else not rules, rules)


class Register(unittest.TestCase):
    CASES = [
        ("in order", None, [txn(0, 1, ("w", 1, 1)), txn(2, 3, ("r", 1, 1), ("w", 1, 2)), txn(4, 5, ("r", 1, 2))]),
        ("stale", "G-single-realtime", [txn(0, 1, ("w", 1, 1)), txn(2, 3, ("w", 1, 2)), txn(4, 5, ("r", 1, 1))]),
        ("nothing behind a write", "G-single-realtime", [txn(0, 1, ("w", 1, 1)), txn(2, 3, ("r", 1, None))]),
        ("lost update", "G2",
         [txn(0, 1, ("w", 1, 1)), txn(2, 9, ("r", 1, 1), ("w", 1, 2)), txn(2, 9, ("r", 1, 1), ("w", 1, 3))]),
        ("write skew", "G2", [txn(0, 9, ("r", 1, None), ("w", 2, 1)), txn(0, 9, ("r", 2, None), ("w", 1, 2))]),
        ("half a transaction", "G1b", [txn(0, 9, ("w", 1, 1), ("w", 1, 2)), txn(3, 4, ("r", 1, 1))]),
        ("failed", "G1a", [txn(0, 1, ("w", 1, 1), outcome="fail"), txn(3, 4, ("r", 1, 1))]),
        ("not its own", "internal", [txn(0, 1, ("w", 1, 1), ("r", 1, None))]),
        ("from nowhere", "phantom", [txn(0, 1, ("r", 1, 5))]),
    ]

    def test_cases(self):
        for name, rule, history in self.CASES:
            with self.subTest(name):
                rules = check_register.check(history).rules()
                self.assertTrue(rule in rules if rule else not rules, rules)


class Sets(unittest.TestCase):
    def check(self, *history):
        return check_set.check(history, "add", ["n0"])

    def test_cases(self):
        last = lambda *elements: op("read", None, 90, 91, result=list(elements), final=True)
        add = lambda e, **more: op("add", e, 0, 1, **more)
        self.assertFalse(self.check(add(1), last(1)).violations)
        self.assertFalse(self.check(add(1, outcome="info"), last()).violations)
        self.assertEqual(self.check(add(1), last()).rules(), {"lost"})
        self.assertEqual(self.check(add(1, outcome="fail"), last(1)).rules(), {"phantom"})
        self.assertEqual(self.check(last(1)).rules(), {"phantom"})
        self.assertEqual(self.check(add(1), last(1, 1)).rules(), {"duplicate"})
        self.assertTrue(self.check(add(1)).doubts)

    def test_how_long_an_element_was_missing(self):
        late = op("read", None, 40, 41, result=[])
        last = op("read", None, 90, 91, result=[1], final=True)
        self.assertEqual(self.check(op("add", 1, 0, 1), late, last).figures["stable_max_ms"], 39)


class Counters(unittest.TestCase):
    def check(self, *history):
        return check_counter.check(history, ["n0"])

    def test_cases(self):
        last = lambda value, node="n0": op("read", None, 90, 91, result=value, node=node, final=True)
        add = lambda d, **more: op("add", d, 0, 1, **more)
        self.assertFalse(self.check(add(3), add(-1), last(2)).violations)
        for value, good in [(3, True), (8, True), (1, True), (6, True), (5, False), (2, False)]:
            verdict = self.check(add(3), add(5, outcome="info"), add(-2, outcome="info"), last(value))
            self.assertEqual(not verdict.violations, good, value)
        self.assertIn("wrong-sum", self.check(add(3), add(4, outcome="fail"), last(7)).rules())
        early = op("read", None, 2, 3, result=9)
        self.assertEqual(self.check(add(3), early, last(3)).rules(), {"impossible"})
        open_one = add(4, outcome="info")
        self.assertIn("diverged", self.check(open_one, last(0), last(4, node="n1")).rules())


class Kafka(unittest.TestCase):
    def check(self, *history):
        return check_kafka.check(history, ["n0"]).rules()

    def test_cases(self):
        send = lambda m, at, offset, **more: op("send", ["k", m], at, at + 1, result=offset, **more)
        poll = lambda first, pairs, at=80, final=True: op("poll", {"k": first}, at, at + 1, result={"k": pairs}, final=final)
        self.assertFalse(self.check(send(1, 0, 5), send(2, 2, 9), poll(0, [[5, 1], [9, 2]])))
        self.assertIn("lost", self.check(send(1, 0, 5), send(2, 2, 9), poll(0, [[9, 2]])))
        self.assertIn("skipped", self.check(send(1, 0, 5), send(2, 2, 9), poll(0, [[9, 2]])))
        self.assertIn("order", self.check(send(1, 0, 5), send(2, 2, 9), poll(0, [[9, 2], [5, 1]])))
        self.assertIn("order", self.check(send(1, 0, 5), poll(6, [[5, 1]])))
        self.assertIn("one-place", self.check(send(1, 0, 5), send(2, 2, 5), poll(0, [[5, 1]])))
        self.assertIn("one-place", self.check(send(1, 0, 5), poll(0, [[5, 1], [6, 1]])))
        self.assertIn("external-order", self.check(send(1, 0, 9), send(2, 2, 5), poll(0, [[5, 2], [9, 1]])))
        self.assertIn("phantom", self.check(send(1, 0, None, outcome="fail"), poll(0, [[5, 1]])))
        self.assertFalse(self.check(send(1, 0, None, outcome="info"), poll(0, [[5, 1]])))

    def test_commits(self):
        commit = lambda offset, at: op("commit", {"k": offset}, at, at + 1)
        listed = lambda offsets: op("list", ["k"], 50, 51, result=offsets)
        last = op("poll", {"k": 0}, 80, 81, result={"k": []}, final=True)
        self.assertFalse(self.check(commit(3, 0), commit(5, 2), listed({"k": 5}), last))
        # Both "the last wins" and "the highest wins" are readings of the workload.
        self.assertFalse(self.check(commit(5, 0), commit(3, 2), listed({"k": 3}), last))
        self.assertFalse(self.check(commit(5, 0), commit(3, 2), listed({"k": 5}), last))
        self.assertIn("commit", self.check(commit(3, 0), commit(5, 2), listed({"k": 3}), last))
        self.assertIn("commit", self.check(commit(3, 0), listed({"k": 4}), last))
        self.assertIn("commit", self.check(commit(3, 0), listed({}), last))


class Rest(unittest.TestCase):
    def test_simple_workloads(self):
        self.assertTrue(check_simple.echo([op("echo", "a", 0, 1, result="b")]).violations)
        self.assertTrue(check_simple.unique_ids([op("generate", None, 0, 1, result=1), op("generate", None, 0, 1, result=1)]).violations)
        self.assertFalse(check_simple.unique_ids([op("generate", None, 0, 1, result=1), op("generate", None, 0, 1, result="1")]).violations)

    def test_codes(self):
        self.assertEqual([outcome_of(c) for c in (0, 11, 13, 14, 22, 30, 999, 1000)],
                         ["info", "fail", "info", "fail", "fail", "fail", "fail", "info"])

    def test_a_history_is_written_as_jepsen_does(self):
        [invoke, done] = events([txn(0, 1, ("r", 1, [2]))])
        self.assertEqual(edn_event(invoke), "{:index 0, :time 0, :type :invoke, :process 0, :f :txn, :value [[:r 1 nil]]}")
        self.assertIn(":type :ok", edn_event(done))
        self.assertIn("[[:r 1 [2]]]", edn_event(done))

    def test_fates_follow_from_the_seed(self):
        fates = lambda seed: [Network(None, seed, Latency(10, "exponential"), 0).draw("loss", ("a", "b"), n) for n in range(5)]
        self.assertEqual(fates(1), fates(1))
        self.assertNotEqual(fates(1), fates(2))

    def test_cuts_cut_between_and_never_within(self):
        import random
        seen = set()
        for seed in range(40):
            name, links = cuts(["n0", "n1", "n2", "n3", "n4"], random.Random(seed))
            seen.add(name.split()[0].rstrip(":"))
            self.assertTrue(links)
            self.assertTrue(all(a != b for a, b in links))
        self.assertEqual(seen, {"halves", "alone", "one-way", "bridge"})


if __name__ == "__main__":
    unittest.main()
