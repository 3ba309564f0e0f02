"""Writes through every endpoint of a running `dwcp dev` cluster with the Python client etcd3 while
its leader, and then a whole region, are killed with SIGKILL; then checks that nothing acknowledged
is lost and that a watch which was resumed saw every change once, in order.

Usage: crash.py DWCP DIR '<the JSON line that dwcp --output json dev printed>'

Prints one line per event and how long writes stood still. The bounds are `STILL_S`.
"""

import json
import os
import subprocess
import sys
import threading
import time

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

import etcd3
import grpc
from etcd3 import etcdrpc as rpc

WRITERS = 6
CALL_S = 1.0
# Generous: machines of CI share their cores. What is promised is measured by the benchmarks.
STILL_S = 20.0
RUN = "crash-%x/" % time.time_ns()


class Endpoint:
    """One client to one endpoint at a time; moves on when it fails."""

    def __init__(self, endpoints, first):
        self.endpoints, self.at, self.channel = endpoints, first, None

    def kv(self):
        if self.channel is None:
            host, port = self.endpoints[self.at % len(self.endpoints)].rsplit(":", 1)
            self.client = etcd3.client(host=host, port=int(port), timeout=CALL_S)
            self.channel = self.client.channel
        return self.client

    def next(self):
        self.at += 1
        self.channel = None


class Writer(threading.Thread):
    """Puts its own keys in order; a put whose outcome is not known is put again."""

    def __init__(self, number, endpoints):
        super().__init__(daemon=True)
        self.number, self.endpoint = number, Endpoint(endpoints, number)
        self.acked, self.stopping = {}, threading.Event()
        self.last_ack, self.longest = time.monotonic(), 0.0

    def run(self):
        n = 0
        while not self.stopping.is_set():
            key = "%sw%d/%06d" % (RUN, self.number, n)
            try:
                revision = self.endpoint.kv().put(key, str(n)).header.revision
            except (grpc.RpcError, etcd3.exceptions.Etcd3Exception):
                self.endpoint.next()
                time.sleep(0.05)
                continue
            self.acked[key] = (str(n), revision)
            self.longest = max(self.longest, time.monotonic() - self.last_ack)
            self.last_ack = time.monotonic()
            n += 1


class Watcher(threading.Thread):
    """Watches all keys of the run; resumes behind the last revision seen."""

    def __init__(self, endpoints, revision):
        super().__init__(daemon=True)
        self.endpoints, self.at, self.revision = endpoints, 0, revision
        self.events, self.resumed = [], 0

    def run(self):
        while True:
            channel = grpc.insecure_channel(self.endpoints[self.at % len(self.endpoints)])
            done = threading.Event()

            def wishes(start=self.revision + 1, done=done):
                create = rpc.WatchCreateRequest(key=RUN.encode(), range_end=(RUN[:-1] + "0").encode(), start_revision=start)
                yield rpc.WatchRequest(create_request=create)
                done.wait()

            try:
                for response in rpc.WatchStub(channel).Watch(wishes()):
                    assert not response.canceled, response
                    for event in response.events:
                        self.events.append((event.kv.mod_revision, event.kv.key.decode()))
                        self.revision = event.kv.mod_revision
            except grpc.RpcError:
                pass
            done.set()
            channel.close()
            self.at, self.resumed = self.at + 1, self.resumed + 1
            time.sleep(0.1)


def flow(writers, what):
    """Waits until every writer has been answered again; tells how long it took."""
    began = time.monotonic()
    before = [len(w.acked) for w in writers]
    first = None
    while any(len(w.acked) < n + 3 for w, n in zip(writers, before)):
        if first is None and any(len(w.acked) > n for w, n in zip(writers, before)):
            first = time.monotonic() - began
        assert time.monotonic() - began < STILL_S, "%s: writes do not flow after %.0f s" % (what, STILL_S)
        time.sleep(0.01)
    print("%-28s first write after %.2f s, all writers after %.2f s" % (what, first or 0, time.monotonic() - began), flush=True)


def main():
    dwcp, folder, cluster = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    endpoints, nodes = cluster["endpoints"], {n["id"]: n for n in cluster["nodes"]}

    def dev(*words):
        subprocess.run([dwcp, "dev", "--dir", folder, *words], check=True, timeout=60, stdout=subprocess.DEVNULL)

    def leader():
        end = time.monotonic() + STILL_S
        while time.monotonic() < end:
            for endpoint in endpoints:
                try:
                    status = rpc.MaintenanceStub(grpc.insecure_channel(endpoint)).Status(rpc.StatusRequest(), timeout=CALL_S)
                except grpc.RpcError:
                    continue
                if status.leader:
                    return nodes[status.leader]
            time.sleep(0.1)
        raise AssertionError("no leader after %.0f s" % STILL_S)

    probe = Endpoint(endpoints, 0).kv()
    watcher = Watcher(endpoints, probe.put(RUN + "begin", "").header.revision)
    watcher.start()
    writers = [Writer(n, endpoints) for n in range(WRITERS)]
    for w in writers:
        w.start()
    flow(writers, "before")
    for round in range(2):
        victim = leader()
        dev("kill", victim["name"])
        flow(writers, "leader %s killed" % victim["name"])
        dev("start", victim["name"])
        flow(writers, "leader started again")
        region = leader()["region"]
        dev("kill", region)
        flow(writers, "region %s killed" % region)
        dev("start", region)
        flow(writers, "region started again")
    for w in writers:
        w.stopping.set()
    for w in writers:
        w.join(STILL_S)
        assert not w.is_alive()

    acked = {k: v for w in writers for k, v in w.acked.items()}
    end = time.monotonic() + STILL_S
    for endpoint in endpoints:
        host, port = endpoint.rsplit(":", 1)
        while True:
            try:
                found = {m.key.decode(): (v.decode(), m) for v, m in etcd3.client(host=host, port=int(port), timeout=10).get_prefix(RUN)}
                break
            except (grpc.RpcError, etcd3.exceptions.Etcd3Exception):
                assert time.monotonic() < end, "%s does not answer" % endpoint
                time.sleep(0.2)
        lost = [k for k, (value, _) in acked.items() if k not in found or found[k][0] != value]
        assert not lost, "%s lost %d acknowledged writes, the first %s" % (endpoint, len(lost), lost[0])
    last = max(revision for _, revision in acked.values())
    while watcher.revision < last:
        assert time.monotonic() < end + STILL_S, "the watch stands at %d, writes at %d" % (watcher.revision, last)
        time.sleep(0.05)
    revisions = [r for r, _ in watcher.events]
    assert revisions == sorted(revisions) and len(set(revisions)) == len(revisions), "a change was told twice or out of order"
    unseen = set(found) - {k for _, k in watcher.events} - {RUN + "begin"}
    assert not unseen, "the watch missed %d keys" % len(unseen)
    print("%d acknowledged writes are on every node; the watch saw %d changes and was resumed %d times; longest standstill %.2f s"
          % (len(acked), len(revisions), watcher.resumed, max(w.longest for w in writers)))
    os._exit(0)


try:
    main()
except BaseException:
    import traceback

    traceback.print_exc()
    os._exit(1)
