"""Dependencies between transactions, and cycles in them (Adya's and Elle's words).

    ww  the other's write replaced mine        wr  the other read my write
    rw  the other's write replaced what I read rt  I was over before the other began

Every edge says "before". In a strictly serializable history no cycle exists.
"""

from collections import deque


class Graph:
    def __init__(self):
        self.edges = {}

    def add(self, a: int, b: int, kind: str, why: str = "") -> None:
        if a != b:
            self.edges.setdefault(a, {}).setdefault(b, (kind, why))

    def add_time(self, ops) -> None:
        """`rt` edges, those that follow from others left out. `ops`: index and operation."""
        events = []
        for i, op in ops:
            events.append((op.invoked, 1, i))
            if op.ok:
                events.append((op.completed, 0, i))
        frontier, before = set(), {}
        for _, begins, i in sorted(events):
            if begins:
                before[i] = set(frontier)
                for earlier in frontier:
                    self.add(earlier, i, "rt")
            else:
                frontier -= before[i]
                frontier.add(i)

    def components(self):
        """Strongly connected components of more than one, by Tarjan without recursion."""
        index, low, on, stack, out = {}, {}, set(), [], []
        for root in list(self.edges):
            if root in index:
                continue
            work = [(root, iter(self.edges.get(root, ())))]
            index[root] = low[root] = len(index)
            stack.append(root)
            on.add(root)
            while work:
                node, rest = work[-1]
                nxt = next(rest, None)
                if nxt is None:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
                    if low[node] == index[node]:
                        part = set()
                        while True:
                            member = stack.pop()
                            on.discard(member)
                            part.add(member)
                            if member == node:
                                break
                        if len(part) > 1:
                            out.append(part)
                elif nxt not in index:
                    index[nxt] = low[nxt] = len(index)
                    stack.append(nxt)
                    on.add(nxt)
                    work.append((nxt, iter(self.edges.get(nxt, ()))))
                elif nxt in on:
                    low[node] = min(low[node], index[nxt])
        return out

    def shortest_cycle(self, part):
        """The shortest cycle through some member of a component, as (from, kind, why, to)."""
        best = None
        for start in sorted(part)[:64]:
            parent, queue = {start: None}, deque([start])
            found = None
            while queue and found is None:
                node = queue.popleft()
                for nxt in self.edges.get(node, ()):
                    if nxt == start:
                        found = node
                        break
                    if nxt in part and nxt not in parent:
                        parent[nxt] = node
                        queue.append(nxt)
            if found is not None:
                path = [found]
                while parent[path[-1]] is not None:
                    path.append(parent[path[-1]])
                path.reverse()
                if best is None or len(path) < len(best):
                    best = path
        ring = best + [best[0]]
        return [(a, *self.edges[a][b], b) for a, b in zip(ring, ring[1:])]

    def judge(self, ops, verdict) -> None:
        self.add_time(list(ops.items()))
        for part in self.components():
            cycle = self.shortest_cycle(part)
            kinds = [kind for _, kind, _, _ in cycle]
            lines = "\n      ".join(f"{ops[a]}\n        -{kind}{' ' + why if why else ''}->" for a, kind, why, _ in cycle)
            verdict.bad(name_of(kinds), f"a cycle of {len(cycle)}:\n      {lines} the first")


def name_of(kinds) -> str:
    """Adya's name for a cycle of these edges; one that needs the clock is of the strict kind."""
    strict = "-realtime" if "rt" in kinds else ""
    rw = kinds.count("rw")
    if rw == 0:
        return ("G1c" if "wr" in kinds else "G0") + strict
    return ("G-single" if rw == 1 else "G2") + strict
