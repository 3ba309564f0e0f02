"""The judge is judged: toy nodes that keep every promise are let go, each that breaks one is convicted of it."""

import asyncio
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from judge import runner  # noqa: E402
from judge.workload import ALL  # noqa: E402

# (workload, lie, rules of which one has to be named)
LIARS = [
    ("echo", "alters", {"altered"}),
    ("echo", "answers-twice", {"protocol"}),
    ("echo", "no-json", {"protocol"}),
    ("unique-ids", "same-numbers", {"given-twice"}),
    ("broadcast", "forgets", {"lost"}),
    ("broadcast", "twice", {"duplicate"}),
    ("broadcast", "invents", {"phantom"}),
    ("g-set", "forgets", {"lost"}),
    ("g-set", "refuses-and-does", {"phantom"}),
    ("g-counter", "forgets", {"wrong-sum"}),
    ("g-counter", "counts-twice", {"wrong-sum"}),
    ("pn-counter", "never-less", {"wrong-sum"}),
    ("lin-kv", "reads-locally", {"not-linearizable"}),
    ("lin-kv", "cas-anyway", {"not-linearizable"}),
    ("lin-kv", "forgets", {"not-linearizable"}),
    ("lin-kv", "refuses-and-does", {"not-linearizable"}),
    ("txn-list-append", "reads-locally", {"G-single-realtime", "G2-realtime"}),
    ("txn-list-append", "forgets", {"G0-realtime", "G-single-realtime", "G-single", "G2", "G2-realtime", "incompatible-order"}),
    ("txn-list-append", "refuses-and-does", {"G1a"}),
    ("txn-list-append", "torn", {"G1b", "G1c", "G0", "G-single", "G2"}),
    ("txn-list-append", "reorders", {"incompatible-order"}),
    ("txn-rw-register", "reads-locally", {"G-single-realtime", "G2-realtime"}),
    ("txn-rw-register", "forgets", {"G-single-realtime", "G-single", "G2", "G2-realtime"}),
    ("txn-rw-register", "refuses-and-does", {"G1a"}),
    ("txn-rw-register", "torn", {"internal", "G1b", "G1c", "G0", "G-single", "G2", "G1c-realtime", "G-single-realtime"}),
    ("kafka", "forgets", {"lost", "one-place"}),
    ("kafka", "offset-twice", {"one-place"}),
    ("kafka", "skips", {"skipped"}),
    ("kafka", "backwards", {"order"}),
    ("kafka", "old-commit", {"commit"}),
]
AT_ONCE = 8


def plan(workload: str, lie: str) -> runner.Plan:
    command = f"{sys.executable} {HERE / 'toy.py'} {workload} {lie}"
    # By count and not by time, so that a slow machine shows as much as a quick one.
    return runner.Plan(
        workload=workload, bin=command, seconds=0.5, least_ops=300, rate=400, workers=6, settle=0.2, timeout=3.0, latency_ms=2
    )


async def all_of(plans):
    room = asyncio.Semaphore(AT_ONCE)

    async def one(p):
        async with room:
            return await runner.run(p)

    return await asyncio.gather(*(one(p) for p in plans))


class Liars(unittest.TestCase):
    def test_the_honest_are_let_go(self):
        for report in asyncio.run(all_of([plan(w, "") for w in ALL])):
            with self.subTest(report.plan.workload):
                self.assertEqual(report.word, "ok", [str(v) for v in report.verdict.violations + report.verdict.doubts])
                self.assertGreater(report.figures["ok"], 50)

    def test_every_liar_is_convicted_of_its_lie(self):
        for report, (workload, lie, rules) in zip(asyncio.run(all_of([plan(w, l) for w, l, _ in LIARS])), LIARS):
            with self.subTest(f"{workload} {lie}"):
                self.assertEqual(report.word, "VIOLATED")
                self.assertTrue(report.verdict.rules() & rules, f"{report.verdict.rules()} has none of {rules}")

    def test_who_says_nothing_is_not_let_go(self):
        [report] = asyncio.run(all_of([plan("echo", "silent")]))
        self.assertEqual(report.word, "unknown")


if __name__ == "__main__":
    unittest.main()
