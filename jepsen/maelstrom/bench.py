#!/usr/bin/env python3
"""Judges any program that speaks Maelstrom's protocol.

    bench.py lin-kv --bin "dwcp maelstrom lin-kv" --nodes 5 --nemesis partition --time 20
    bench.py all --bin "dwcp maelstrom {workload}" --json

Exit status: 0 all is well, 1 a rule was violated, 2 the command line is wrong, 3 nothing violated
and something left in doubt (a search without end, a node that answered nothing).
"""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from judge import report, runner  # noqa: E402
from judge.nemesis import KINDS  # noqa: E402
from judge.network import Latency  # noqa: E402
from judge.workload import ALL  # noqa: E402


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("workload", choices=[*ALL, "all"], help="what is asked; `all` runs one after another")
    p.add_argument("--bin", required=True, help="the node's command line; {workload} is replaced")
    p.add_argument("--nodes", type=int, default=3)
    p.add_argument("--time", type=float, default=5, help="seconds of questions (default 5)")
    p.add_argument("--least-ops", type=int, default=0, help="go on, 30 s at most, until this many were asked (0)")
    p.add_argument("--rate", type=float, default=50, help="questions a second, all clients together (50)")
    p.add_argument("--workers", type=int, default=0, help="clients; each asks one question at a time (one a node, 4 at least)")
    p.add_argument("--latency", type=float, default=0, metavar="MS", help="mean latency between nodes (0)")
    p.add_argument("--latency-dist", choices=Latency.KINDS, default="constant")
    p.add_argument("--loss", type=float, default=0, help="share of messages between nodes that are lost (0)")
    p.add_argument("--topology", default="grid", help="for broadcast: grid, line, total, tree2, tree3 and so on (grid)")
    p.add_argument("--nemesis", default="", help=f"any of {', '.join(KINDS)}, with commas between")
    p.add_argument("--nemesis-interval", type=float, default=2, metavar="S", help="length of a fault, and of the peace before it (2)")
    p.add_argument("--settle", type=float, default=2, metavar="S", help="peace before the last questions (2)")
    p.add_argument("--timeout", type=float, default=5, metavar="S", help="how long a client waits (5)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--min-ok", type=float, default=0, help="share of questions that must succeed (0)")
    p.add_argument("--max-msgs-per-op", type=float, default=float("inf"))
    p.add_argument("--max-stable-median", type=float, default=float("inf"), metavar="MS")
    p.add_argument("--max-stable", type=float, default=float("inf"), metavar="MS")
    p.add_argument("--at-once", type=int, default=1, metavar="N", help="of all workloads, how many run at once (1)")
    p.add_argument("--out", type=Path, help="keep histories (JSON lines, EDN) and the nodes' logs here")
    p.add_argument("--json", action="store_true", help="one JSON object a run instead of the table")
    args = p.parse_args()
    args.nemesis = tuple(k for k in args.nemesis.split(",") if k)
    if unknown := set(args.nemesis) - set(KINDS):
        p.error(f"no nemesis is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if not (args.topology in ("grid", "line", "total") or args.topology[:4] == "tree" and args.topology[4:].isdigit() and int(args.topology[4:]) > 0):
        p.error(f"no topology is called {args.topology}")
    if args.nodes < 1 or args.rate <= 0 or not 0 <= args.loss < 1:
        p.error("--nodes from 1, --rate above 0, --loss from 0 and below 1")
    return args


def plan_of(args, workload: str) -> runner.Plan:
    return runner.Plan(
        workload=workload, bin=args.bin, nodes=args.nodes, seconds=args.time, least_ops=args.least_ops, rate=args.rate, workers=args.workers,
        latency_ms=args.latency, latency_kind=args.latency_dist, loss=args.loss, topology=args.topology,
        nemesis=args.nemesis, every=args.nemesis_interval, settle=args.settle, timeout=args.timeout, seed=args.seed,
        min_ok=args.min_ok, max_msgs_per_op=args.max_msgs_per_op, max_stable_median_ms=args.max_stable_median,
        max_stable_ms=args.max_stable, out=args.out,
    )


async def judged(args):
    room = asyncio.Semaphore(max(1, args.at_once))

    async def one(workload):
        async with room:
            done = await runner.run(plan_of(args, workload))
        if args.json:
            print(report.as_json(done), flush=True)
        elif why := report.reasons(done):
            print(why, file=sys.stderr, flush=True)
        return done

    return await asyncio.gather(*(one(w) for w in (ALL if args.workload == "all" else [args.workload])))


def main() -> int:
    args = arguments()
    reports = asyncio.run(judged(args))
    if not args.json:
        print(report.table(reports))
    words = {r.word for r in reports}
    return 1 if "VIOLATED" in words else 3 if "unknown" in words else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
