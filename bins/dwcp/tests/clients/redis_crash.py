"""Writes to every region of a running `dwcp dev` cluster through the Redis doors while a region is killed with SIGKILL
and comes back; then checks that all nodes hold the same and that nothing acknowledged is lost.

Usage: redis_crash.py DWCP DIR '<the JSON line that dwcp --output json dev printed>'
"""

import json
import subprocess
import sys
import threading
import time

import redis

DWCP, DIR, READY = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
NODES = READY["nodes"]
RUN = "crash-%x:" % time.time_ns()
# Generous: machines of CI share their cores. What is promised is measured by the benchmarks.
CONVERGE_S = 60


def connect(node, **options):
    host, port = node["redis"].rsplit(":", 1)
    return redis.Redis(host=host, port=int(port), decode_responses=True, socket_timeout=5, **options)


class Writer(threading.Thread):
    """Adds to a shared set, a shared counter and a hash in one transaction, at one node."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.stopping = node, threading.Event()
        self.acked, self.asked, self.failures = [], 0, 0

    def run(self):
        client = connect(self.node)
        while not self.stopping.is_set():
            name = "%d-%d" % (self.node["id"], self.asked)
            self.asked += 1
            try:
                with client.pipeline(transaction=True) as p:
                    p.sadd(RUN + "set", name)
                    p.incr(RUN + "count:%d" % self.node["id"])
                    p.incr(RUN + "count")
                    p.hset(RUN + "hash", "n%d" % self.node["id"], name)
                    p.execute()
                self.acked.append(name)
            except redis.RedisError:
                self.failures += 1
                time.sleep(0.1)


def dev(*words):
    subprocess.run([DWCP, "dev", "--dir", DIR, *words], check=True, stdout=subprocess.DEVNULL, timeout=60)


def look(node):
    client = connect(node)
    return {
        "set": client.smembers(RUN + "set"),
        "count": int(client.get(RUN + "count") or 0),
        "counts": [int(client.get(RUN + "count:%d" % n["id"]) or 0) for n in NODES],
        "hash": client.hgetall(RUN + "hash"),
        "fingerprint": json.loads(client.execute_command("DWCP.STATUS"))["fingerprint"],
    }


def until(what, seconds, found):
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "%s did not come within %d s" % (what, seconds)
        time.sleep(0.2)


def acked_more(writers, than, by):
    return all(len(w.acked) >= n + by for w, n in zip(writers, than))


writers = [Writer(n) for n in NODES]
for w in writers:
    w.start()
until("writes at every node", 60, lambda: acked_more(writers, [0] * len(writers), 50))
print("ok      writes at every node", flush=True)

victim = NODES[0]
dev("kill", victim["region"])
survivors = [w for w in writers if w.node["region"] != victim["region"]]
before = [len(w.acked) for w in survivors]
until("writes in the other regions", 30, lambda: acked_more(survivors, before, 50))
print("ok      %s killed; the others go on writing" % victim["region"], flush=True)

dev("start", victim["region"])
back = [w for w in writers if w.node["region"] == victim["region"]]
before = [len(w.acked) for w in back]
until("writes in the region that came back", 60, lambda: acked_more(back, before, 20))
print("ok      %s came back and writes" % victim["region"], flush=True)

for w in writers:
    w.stopping.set()
for w in writers:
    w.join(30)
    assert not w.is_alive()

begun = time.monotonic()
seen = {}


def equal():
    seen["all"] = [look(n) for n in NODES]
    return all(s == seen["all"][0] for s in seen["all"])


try:
    until("one state at all nodes", CONVERGE_S, equal)
except AssertionError:
    for n, s in zip(NODES, seen.get("all", [])):
        print(n["name"], len(s["set"]), s["count"], s["counts"], s["hash"], s["fingerprint"])
    raise
print("ok      all equal %.1f s after the last write" % (time.monotonic() - begun), flush=True)

state = seen["all"][0]
for w, total in zip(writers, state["counts"]):
    lost = [n for n in w.acked if n not in state["set"]]
    assert not lost, ("acknowledged and lost", w.node["name"], lost[:5], len(lost))
    # What was not acknowledged may have been done.
    assert len(w.acked) <= total <= w.asked, (w.node["name"], len(w.acked), total, w.asked)
assert state["count"] == sum(state["counts"]) == len(state["set"]), (state["count"], state["counts"], len(state["set"]))
print("ok      %d acknowledged transactions are there, whole" % sum(len(w.acked) for w in writers), flush=True)
