"""One run: start, ask while things break, heal, wait, ask once more, judge."""

import asyncio
import math
import random
import shlex
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import history as h
from .check_set import quantile
from .client import Client, Refused
from .nemesis import Nemesis
from .network import Latency, Network
from .process import NodeProcess
from .workload import ALL, Kafka

INIT_WITHIN = 20.0
LAST_WITHIN = 15.0
LAST_FOLLOWS_MAX = 10_000
# A slow machine may take this much longer to ask what has to be asked.
LONGER_MAX = 30.0


@dataclass
class Plan:
    """Everything a run depends on besides the program."""

    workload: str
    bin: str
    nodes: int = 3
    seconds: float = 5.0
    least_ops: int = 0
    rate: float = 50.0
    workers: int = 0
    latency_ms: float = 0.0
    latency_kind: str = "constant"
    loss: float = 0.0
    topology: str = "grid"
    nemesis: tuple = ()
    every: float = 2.0
    settle: float = 2.0
    timeout: float = 5.0
    seed: int = 1
    min_ok: float = 0.0
    max_msgs_per_op: float = math.inf
    max_stable_median_ms: float = math.inf
    max_stable_ms: float = math.inf
    out: Path = None


@dataclass
class Report:
    plan: Plan
    verdict: h.Verdict = field(default_factory=h.Verdict)
    history: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)

    @property
    def word(self) -> str:
        if self.verdict.violations:
            return "VIOLATED"
        return "unknown" if self.verdict.doubts else "ok"


def topology_of(kind: str, names) -> dict:
    if kind == "total":
        return {n: [o for o in names if o != n] for n in names}
    width = {"grid": math.ceil(math.sqrt(len(names))), "line": 1}.get(kind)
    links = {n: [] for n in names}
    for i, name in enumerate(names):
        if kind.startswith("tree"):
            others = [(i - 1) // int(kind[4:])] if i else []
        else:
            others = ([i - 1] if width > 1 and i % width else []) + ([i - width] if i >= width else [])
        for o in others:
            links[name].append(names[o])
            links[names[o]].append(name)
    return links


class Run:
    def __init__(self, plan: Plan, folder: Path):
        self.plan, self.folder = plan, folder
        self.names = [f"n{i}" for i in range(plan.nodes)]
        self.loop = asyncio.get_running_loop()
        latency = Latency(plan.latency_ms, plan.latency_kind)
        self.network = Network(self.loop, plan.seed, latency, plan.loss)
        words = shlex.split(plan.bin.replace("{workload}", plan.workload))
        self.nodes = {n: NodeProcess(n, words, self.network, folder / f"{n}.log") for n in self.names}
        self.work = ALL[plan.workload](self.names, plan.seed)
        self.history, self.clients = [], []
        self.epoch = time.monotonic_ns()
        self.setup_client = self.client()

    def client(self) -> Client:
        client = Client(f"c{len(self.clients)}", self.network)
        self.clients.append(client)
        return client

    def now(self) -> int:
        return time.monotonic_ns() - self.epoch

    async def start_node(self, node: NodeProcess) -> None:
        await node.start()
        body = {"type": "init", "node_id": node.name, "node_ids": self.names}
        await self.setup_client.ask(node.name, body, INIT_WITHIN)

    async def whole(self) -> Report:
        plan, report = self.plan, Report(self.plan)
        try:
            try:
                await asyncio.gather(*(self.start_node(n) for n in self.nodes.values()))
                for node, body in self.work.setup(topology_of(plan.topology, self.names)):
                    await self.setup_client.ask(node, body, INIT_WITHIN)
            except (Refused, asyncio.TimeoutError, OSError) as e:
                report.verdict.bad("no-start", f"the nodes did not start: {e!r}; see {self.folder}")
                return report
            before = self.network.between_nodes
            nemesis = await self.main_phase()
            report.figures["server_messages"] = self.network.between_nodes - before
            await asyncio.sleep(plan.settle)
            await asyncio.gather(*(self.last_phase(i, n) for i, n in enumerate(self.names)))
        finally:
            await asyncio.gather(*(n.stop(3.0) for n in self.nodes.values()))
        self.judge(report, nemesis)
        return report

    async def main_phase(self) -> Nemesis:
        plan = self.plan
        nemesis = Nemesis(plan.nemesis, plan.every, plan.seed, self.network, self.nodes, self.start_node)
        breaking = asyncio.create_task(nemesis.run())
        count = plan.workers or max(plan.nodes, 4)
        await asyncio.gather(*(self.worker(i, count) for i in range(count)))
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)
        if getattr(nemesis, "left_down", None) is not None:
            await self.start_node(nemesis.left_down)
        return nemesis

    async def worker(self, me: int, count: int) -> None:
        """Asks one question at a time of one node, at its share of the rate."""
        plan, client = self.plan, self.client()
        rng = random.Random(f"{plan.seed}/worker/{me}")
        node, process = self.names[me % len(self.names)], me
        start = self.loop.time()
        due = start + rng.random() * count / plan.rate
        end = start + plan.seconds
        while due < end or len(self.history) < plan.least_ops and due < end + LONGER_MAX:
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            due = max(due + rng.uniform(0.5, 1.5) * count / plan.rate, self.loop.time())
            f, value = self.work.next(me)
            op = await self.ask(client, process, node, f, value, plan.timeout)
            if op.outcome == "info":
                process += count
            elif op.ok and f == "poll" and isinstance(self.work, Kafka):
                self.work.polled(me, op.result)

    async def ask(self, client, process, node, f, value, within, final=False) -> h.Operation:
        op = h.Operation(process, node, f, value, self.now(), final=final)
        self.history.append(op)
        try:
            answer = await client.ask(node, self.work.body(f, value), within)
            op.result, op.outcome = self.work.answer(f, value, answer), "ok"
        except Refused as e:
            instead = self.work.refused(f, e.code)
            op.outcome = h.outcome_of(e.code) if instead is ... else "ok"
            op.result = None if instead is ... else instead
            op.error = None if op.ok else [e.code, e.text]
        except asyncio.TimeoutError:
            op.error = "time-out"
        except ValueError as e:
            client.complaints.append(f"{node}: {e}")
            op.error = "malformed answer"
        op.completed = self.now()
        return op

    async def last_phase(self, nth: int, node: str) -> None:
        """Each question is asked until it is answered: all is healed, so it has to be."""
        client, process = self.client(), 1_000_000 + nth
        until = self.loop.time() + LAST_WITHIN
        left = list(self.work.last(node))
        for _ in range(LAST_FOLLOWS_MAX):
            if not left or self.loop.time() > until:
                return
            op = await self.ask(client, process, node, *left[0], self.plan.timeout, final=True)
            if op.ok:
                left.pop(0)
                more = self.work.follow(op)
                if more is not None:
                    left.insert(0, more)
            else:
                await asyncio.sleep(0.1)

    def judge(self, report: Report, nemesis) -> None:
        plan = self.plan
        self.history.sort(key=lambda op: op.invoked)
        verdict = report.verdict = self.work.check(self.history)
        sources = [self.network, *self.nodes.values(), *self.clients]
        for complaint in (c for s in sources for c in s.complaints):
            verdict.bad("protocol", complaint)
        main = [op for op in self.history if not op.final]
        for f in self.work.kinds:
            if not any(op.ok for op in main if op.f == f):
                verdict.doubts.append(f"no {f} ever succeeded: nothing was shown")
        ok = sum(op.ok for op in main)
        if main and ok / len(main) < plan.min_ok:
            verdict.bad("availability", f"{ok} of {len(main)} operations succeeded, {plan.min_ok:.0%} are asked for")
        latencies = [(op.completed - op.invoked) / 1e6 for op in main if op.ok]
        report.history = self.history
        report.figures.update(
            ops=len(main),
            ok=ok,
            fail=sum(op.outcome == "fail" for op in main),
            info=sum(op.outcome == "info" for op in main),
            msgs_per_op=report.figures["server_messages"] / max(1, len(main)),
            median_ms=quantile(latencies, 0.5),
            p99_ms=quantile(latencies, 0.99),
            max_ms=max(latencies, default=0.0),
            faults=len(nemesis.done),
            **verdict.figures,
        )
        for name, limit in [
            ("msgs_per_op", plan.max_msgs_per_op),
            ("stable_median_ms", plan.max_stable_median_ms),
            ("stable_max_ms", plan.max_stable_ms),
        ]:
            if report.figures.get(name, 0) > limit:
                verdict.bad("figure", f"{name} is {report.figures[name]:.1f}, at most {limit:g} is asked for")


async def run(plan: Plan) -> Report:
    """Runs a plan. What it leaves behind lies in `plan.out`, if that is given."""
    with tempfile.TemporaryDirectory(prefix="maelstrom-judge-") as scratch:
        folder = Path(plan.out) / plan.workload if plan.out else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = await Run(plan, folder).whole()
        h.write(report.history, folder)
        return report
