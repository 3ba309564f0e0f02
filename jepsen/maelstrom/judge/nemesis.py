"""What goes wrong on purpose: one fault at a time, each followed by as long a peace."""

import asyncio
import random
import signal

KINDS = ("partition", "kill", "pause")


def cuts(names, rng) -> tuple:
    """A partition: its name, and the links it cuts."""
    names = sorted(names)
    kind = rng.choice(["halves", "alone", "one-way", "bridge"])
    shuffled = names[:]
    rng.shuffle(shuffled)
    if kind == "halves" or len(names) < 3:
        half = set(shuffled[: len(names) // 2])
        return "halves", {(a, b) for a in names for b in names if (a in half) != (b in half)}
    one = shuffled[0]
    if kind == "alone":
        return f"alone {one}", {(a, b) for a in names for b in names if a != b and one in (a, b)}
    if kind == "one-way":
        return f"one-way: nothing from {one}", {(one, b) for b in names if b != one}
    rest = shuffled[1:]
    left = set(rest[: len(rest) // 2])
    return f"bridge over {one}", {(a, b) for a in rest for b in rest if (a in left) != (b in left)}


class Nemesis:
    def __init__(self, kinds, every: float, seed: int, network, nodes, restart):
        self.kinds, self.every, self.network, self.nodes = kinds, every, network, nodes
        self.rng = random.Random(f"{seed}/nemesis")
        self.restart = restart
        self.done = []

    async def run(self) -> None:
        """Until it is cancelled; heals what it broke then."""
        down, paused = None, None
        try:
            while self.kinds:
                await asyncio.sleep(self.every)
                kind = self.rng.choice(self.kinds)
                if kind == "partition":
                    name, links = cuts(self.nodes, self.rng)
                    self.network.cut = links
                    self.done.append(name)
                    await asyncio.sleep(self.every)
                    self.network.cut = set()
                    continue
                victim = self.nodes[self.rng.choice(sorted(self.nodes))]
                self.done.append(f"{kind} {victim.name}")
                if kind == "kill":
                    down = victim
                    await victim.kill()
                    await asyncio.sleep(self.every / 2)
                    await self.restart(victim)
                    down = None
                else:
                    paused = victim
                    victim.signal(signal.SIGSTOP)
                    await asyncio.sleep(self.every)
                    victim.signal(signal.SIGCONT)
                    paused = None
        finally:
            self.network.cut = set()
            if paused is not None:
                paused.signal(signal.SIGCONT)
            self.left_down = down
