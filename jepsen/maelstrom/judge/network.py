"""The network between nodes: latency, loss and partitions, drawn from a seed.

A draw is bound to what it decides: the n-th message of a link has the same fate in every run with
the same seed, whatever else travels. Clients are near their nodes: what they send and are sent is
neither late nor lost nor cut.
"""

import hashlib
import math


class Latency:
    """How long a message travels, in seconds."""

    KINDS = ("constant", "uniform", "exponential")

    def __init__(self, mean_ms: float, kind: str):
        self.mean, self.kind = mean_ms / 1000, kind

    def of(self, draw: float) -> float:
        if self.kind == "constant":
            return self.mean
        if self.kind == "uniform":
            return 2 * self.mean * draw
        return -self.mean * math.log(1 - draw)


class Network:
    def __init__(self, loop, seed: int, latency: Latency, loss: float):
        self.loop, self.seed, self.latency, self.loss = loop, seed, latency, loss
        self.nodes, self.clients = {}, {}
        self.cut = set()
        self.sent_on_link = {}
        self.between_nodes = 0
        self.lost = 0
        self.complaints = []
        self.journal = None

    def draw(self, purpose: str, link, nth: int) -> float:
        key = f"{self.seed}/{purpose}/{link[0]}/{link[1]}/{nth}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56

    def send(self, message: dict) -> None:
        """Takes a message from its sender and sees to its arrival."""
        src, dest = message["src"], message["dest"]
        if dest in self.clients:
            self.clients[dest](message)
        elif dest not in self.nodes:
            self.complaints.append(f"{src} sends to {dest!r}, which is nobody: {message}")
        elif src in self.clients:
            self.nodes[dest](message)
        else:
            self.carry((src, dest), message)

    def carry(self, link, message) -> None:
        nth = self.sent_on_link.get(link, 0)
        self.sent_on_link[link] = nth + 1
        self.between_nodes += 1
        if link in self.cut or self.draw("loss", link, nth) < self.loss:
            self.lost += 1
            return
        after = 0 if link[0] == link[1] else self.latency.of(self.draw("latency", link, nth))
        self.loop.call_later(after, self.arrive, link, message)

    def arrive(self, link, message) -> None:
        if link in self.cut:
            self.lost += 1
        else:
            self.nodes[link[1]](message)
