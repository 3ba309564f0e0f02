"""Drives an etcd v3 endpoint with the Python client etcd3, unmodified, and with plain gRPC where
that client has no method (v3lock, v3election, progress, fragments).

Usage: etcd3_client.py HOST:PORT [name ...]     (all checks, or those named)

Each check is a function `check_*`; it fails by assertion. Run against Debian's etcd it tells
whether the checks themselves are right: what only dwcp promises is marked `only_dwcp` and is
left out with --etcd.
"""

import hashlib
import io
import os
import queue
import sys
import threading
import time
import traceback

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

import etcd3
import grpc
from etcd3 import etcdrpc as rpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

RUN = "run-%x/" % time.time_ns()
WAIT_S = 15


def key(name):
    return RUN + name


# ---------------------------------------------------------------- messages without a Python package


def _messages():
    """v3lockpb and v3electionpb, described by hand: (message, [(name, tag, type)])."""
    file = descriptor_pb2.FileDescriptorProto(name="dwcp_test.proto", package="t", syntax="proto3")
    F = descriptor_pb2.FieldDescriptorProto
    kinds = {"bytes": F.TYPE_BYTES, "int64": F.TYPE_INT64, "uint64": F.TYPE_UINT64}
    shapes = {
        "Header": [("cluster_id", 1, "uint64"), ("member_id", 2, "uint64"), ("revision", 3, "int64")],
        "KeyValue": [("key", 1, "bytes"), ("create_revision", 2, "int64"), ("mod_revision", 3, "int64"),
                     ("version", 4, "int64"), ("value", 5, "bytes"), ("lease", 6, "int64")],
        "LockRequest": [("name", 1, "bytes"), ("lease", 2, "int64")],
        "LockResponse": [("header", 1, "Header"), ("key", 2, "bytes")],
        "UnlockRequest": [("key", 1, "bytes")],
        "HeaderResponse": [("header", 1, "Header")],
        "LeaderKey": [("name", 1, "bytes"), ("key", 2, "bytes"), ("rev", 3, "int64"), ("lease", 4, "int64")],
        "CampaignRequest": [("name", 1, "bytes"), ("lease", 2, "int64"), ("value", 3, "bytes")],
        "CampaignResponse": [("header", 1, "Header"), ("leader", 2, "LeaderKey")],
        "LeaderRequest": [("name", 1, "bytes")],
        "LeaderResponse": [("header", 1, "Header"), ("kv", 2, "KeyValue")],
        "ResignRequest": [("leader", 1, "LeaderKey")],
        "ProclaimRequest": [("leader", 1, "LeaderKey"), ("value", 2, "bytes")],
    }
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for field, tag, kind in fields:
            f = message.field.add(name=field, number=tag, label=F.LABEL_OPTIONAL)
            if kind in kinds:
                f.type = kinds[kind]
            else:
                f.type, f.type_name = F.TYPE_MESSAGE, ".t." + kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    make = message_factory.MessageFactory(pool)
    return {name: make.GetPrototype(pool.FindMessageTypeByName("t." + name)) for name in shapes}


M = _messages()


class Recipes:
    """v3lock and v3election as stubs."""

    def __init__(self, channel):
        def unary(path, answer):
            return channel.unary_unary(path, lambda m: m.SerializeToString(), M[answer].FromString)

        self.lock = unary("/v3lockpb.Lock/Lock", "LockResponse")
        self.unlock = unary("/v3lockpb.Lock/Unlock", "HeaderResponse")
        self.campaign = unary("/v3electionpb.Election/Campaign", "CampaignResponse")
        self.leader = unary("/v3electionpb.Election/Leader", "LeaderResponse")
        self.proclaim = unary("/v3electionpb.Election/Proclaim", "HeaderResponse")
        self.resign = unary("/v3electionpb.Election/Resign", "HeaderResponse")
        self.observe = channel.unary_stream(
            "/v3electionpb.Election/Observe", lambda m: m.SerializeToString(), M["LeaderResponse"].FromString
        )


class WatchStream:
    """The Watch stream itself, for what the client's own watcher hides."""

    def __init__(self, channel):
        self.requests = queue.Queue()
        self.call = rpc.WatchStub(channel).Watch(iter(self.requests.get, None), timeout=60)
        self.responses = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for response in self.call:
                self.responses.put(response)
        except grpc.RpcError as e:
            self.responses.put(e)

    def create(self, k, watch_id=0, fragment=False, **fields):
        fields = {n: (v.encode() if isinstance(v, str) else v) for n, v in fields.items()}
        request = rpc.WatchCreateRequest(key=k.encode(), **fields).SerializeToString()
        # Newer than the client's messages: `watch_id` is field 7, `fragment` field 8.
        request += bytes([0x38, watch_id, 0x40, int(fragment)])
        request = rpc.WatchCreateRequest.FromString(request)
        self.requests.put(rpc.WatchRequest(create_request=request))
        return self.next()

    def next(self):
        response = self.responses.get(timeout=WAIT_S)
        if isinstance(response, Exception):
            raise response
        return response

    def events(self, n):
        events = []
        while len(events) < n:
            events.extend(self.next().events)
        return events

    def close(self):
        self.requests.put(None)
        self.call.cancel()


def refused(code, text, call):
    try:
        call()
    except grpc.RpcError as e:
        assert e.code() == code, (e.code(), e.details())
        assert text in e.details(), e.details()
        return
    raise AssertionError("was not refused: " + text)


def only_dwcp(check):
    check.only_dwcp = True
    return check


# ---------------------------------------------------------------- KV


def check_put_get_delete(c):
    k = key("kv/one")
    assert c.get(k) == (None, None)
    c.put(k, "1")
    value, meta = c.get(k)
    assert value == b"1" and meta.version == 1 and meta.create_revision == meta.mod_revision
    c.put(k, "2")
    value, meta = c.get(k)
    assert value == b"2" and meta.version == 2 and meta.mod_revision == meta.create_revision + 1
    assert c.put(k, "3", prev_kv=True).prev_kv.value == b"2"
    assert c.delete(k, prev_kv=True, return_response=True).prev_kvs[0].value == b"3"
    assert c.delete(k) is False and c.get(k)[0] is None
    assert meta.response_header.cluster_id and meta.response_header.member_id


def check_bytes_survive(c):
    k = RUN.encode() + b"kv/\x00\xff\xfe"
    value = bytes(range(256)) * 4000
    c.put(k, value)
    assert c.get(k)[0] == value
    c.put(k, b"")
    assert c.get(k)[0] == b""


def check_prefix_and_order(c):
    p = key("range/")
    for n, v in [("a", "3"), ("b", "1"), ("c", "2")]:
        c.put(p + n, v)
    c.put(p + "a", "4")
    names = lambda **o: [m.key.decode()[len(p):] for _, m in c.get_prefix(p, **o)]
    assert names() == ["a", "b", "c"]
    assert names(sort_order="descend") == ["c", "b", "a"]
    assert names(sort_order="ascend", sort_target="value") == ["b", "c", "a"]
    assert names(sort_order="ascend", sort_target="mod") == ["b", "c", "a"]
    assert names(sort_order="descend", sort_target="version") == ["a", "b", "c"]
    assert [v for v, _ in c.get_prefix(p, keys_only=True)] == [b"", b"", b""]
    kv = rpc.KVStub(c.channel)
    end = p[:-1] + "0"
    r = kv.Range(rpc.RangeRequest(key=p.encode(), range_end=end.encode(), limit=2), timeout=WAIT_S)
    assert (len(r.kvs), r.more, r.count) == (2, True, 3)
    r = kv.Range(rpc.RangeRequest(key=p.encode(), range_end=end.encode(), count_only=True), timeout=WAIT_S)
    assert (len(r.kvs), r.count) == (0, 3)
    assert c.delete_prefix(p).deleted == 3 and list(c.get_prefix(p)) == []


def check_history(c):
    k = key("history")
    first = c.put(k, "old").header.revision
    c.put(k, "new")
    kv = rpc.KVStub(c.channel)
    r = kv.Range(rpc.RangeRequest(key=k.encode(), revision=first), timeout=WAIT_S)
    assert r.kvs[0].value == b"old" and r.header.revision > first
    refused(grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision",
            lambda: kv.Range(rpc.RangeRequest(key=k.encode(), revision=first + 10**9), timeout=WAIT_S))


def check_txn(c):
    k = key("txn")
    c.put(k, "1")
    t = c.transactions
    ok, answers = c.transaction(
        compare=[t.value(k) == "1", t.version(k) > 0, t.create(k) > 0, t.mod(k) > 0],
        success=[t.put(k, "2"), t.get(k), t.put(key("txn2"), "x"), t.delete(key("txn-none"))],
        failure=[t.put(k, "bad")],
    )
    assert ok and answers[1][0][0] == b"2"
    ok, answers = c.transaction(compare=[t.value(k) == "1"], success=[], failure=[t.get(k)])
    assert not ok and answers[0][0][0] == b"2"
    inner = t.txn(compare=[t.value(k) == "2"], success=[t.put(k, "3")], failure=[])
    ok, _ = c.transaction(compare=[t.version(key("nothing")) == 0], success=[inner], failure=[])
    assert ok and c.get(k)[0] == b"3"
    assert c.replace(k, "3", "4") and not c.replace(k, "3", "5") and c.get(k)[0] == b"4"
    assert c.put_if_not_exists(key("txn-new"), "1") and not c.put_if_not_exists(key("txn-new"), "2")


def check_txn_is_one_revision(c):
    a, b, t = key("one/a"), key("one/b"), c.transactions
    c.transaction(compare=[], success=[t.put(a, "1"), t.put(b, "2")], failure=[])
    assert c.get(a)[1].mod_revision == c.get(b)[1].mod_revision


def check_refusals(c):
    kv, k = rpc.KVStub(c.channel), key("refusals").encode()
    code = grpc.StatusCode
    put = lambda **f: rpc.RequestOp(request_put=rpc.PutRequest(key=k, **f))
    refused(code.INVALID_ARGUMENT, "etcdserver: key is not provided", lambda: kv.Put(rpc.PutRequest(), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: key is not provided", lambda: kv.Range(rpc.RangeRequest(), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: value is provided",
            lambda: kv.Put(rpc.PutRequest(key=k, value=b"v", ignore_value=True), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: lease is provided",
            lambda: kv.Put(rpc.PutRequest(key=k, lease=1, ignore_lease=True), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: key not found",
            lambda: kv.Put(rpc.PutRequest(key=k, ignore_value=True), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request",
            lambda: kv.Txn(rpc.TxnRequest(success=[put(), put()]), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request",
            lambda: kv.Txn(rpc.TxnRequest(success=[put()] * 129), timeout=WAIT_S))
    refused(code.NOT_FOUND, "etcdserver: requested lease not found",
            lambda: kv.Put(rpc.PutRequest(key=k, lease=4242), timeout=WAIT_S))
    refused(code.INVALID_ARGUMENT, "etcdserver: request is too large",
            lambda: kv.Put(rpc.PutRequest(key=k, value=b"x" * (1536 * 1024 + 1)), timeout=WAIT_S))
    refused(code.RESOURCE_EXHAUSTED, "larger than max",
            lambda: kv.Put(rpc.PutRequest(key=k, value=b"x" * (4 * 1024 * 1024)), timeout=WAIT_S))
    refused(code.UNIMPLEMENTED, "unknown",
            lambda: c.channel.unary_unary("/etcdserverpb.KV/Nothing")(b"", timeout=WAIT_S))
    assert c.get(k) == (None, None)


def check_garbage_is_refused(c):
    refused(grpc.StatusCode.INTERNAL, "", lambda: c.channel.unary_unary("/etcdserverpb.KV/Put")(b"\xff\xff\xff", timeout=WAIT_S))


@only_dwcp
def check_own_writes_are_seen_everywhere(c):
    """What was answered at this endpoint is in its serializable reads and not in a new watch."""
    k, kv = key("own"), rpc.KVStub(c.channel)
    for n in range(30):
        revision = c.put(k, str(n)).header.revision
        r = kv.Range(rpc.RangeRequest(key=k.encode(), serializable=True), timeout=WAIT_S)
        assert r.kvs[0].value == str(n).encode() and r.header.revision >= revision
        c.put(k, "unseen")
        s = WatchStream(c.channel)
        assert s.create(k).created
        c.put(k, "seen")
        assert s.events(1)[0].kv.value == b"seen"
        s.close()


# ---------------------------------------------------------------- watch


def check_watch(c):
    k = key("watch/a")
    events, cancel = c.watch_prefix(key("watch/"))
    seen = queue.Queue()

    def collect():
        for event in events:
            seen.put(event)

    thread = threading.Thread(target=collect)
    thread.start()
    c.put(k, "1")
    c.put(k, "2")
    c.delete(k)
    got = [seen.get(timeout=WAIT_S) for _ in range(3)]
    assert [type(e).__name__ for e in got] == ["PutEvent", "PutEvent", "DeleteEvent"]
    assert [e.value for e in got[:2]] == [b"1", b"2"] and got[0].key.decode() == k
    cancel()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def check_watch_from_the_past(c):
    k = key("watch-past")
    first = c.put(k, "1").header.revision
    for n in range(2, 6):
        c.put(k, str(n))
    events, cancel = c.watch(k, start_revision=first + 1)
    assert [next(events).value for _ in range(4)] == [b"2", b"3", b"4", b"5"]
    c.put(k, "6")
    assert next(events).value == b"6"
    cancel()


def check_watch_filters_and_previous(c):
    k = key("watch-filter")
    s = WatchStream(c.channel)
    created = s.create(k, prev_kv=True)
    assert created.created and not created.canceled and created.header.revision > 0
    no_put = s.create(k, filters=[rpc.WatchCreateRequest.NOPUT])
    no_delete = s.create(k, filters=[rpc.WatchCreateRequest.NODELETE])
    ids = [created.watch_id, no_put.watch_id, no_delete.watch_id]
    assert len(set(ids)) == 3
    c.put(k, "1")
    c.put(k, "2")
    c.delete(k)
    by_id = {i: [] for i in ids}
    while sum(map(len, by_id.values())) < 6:
        r = s.next()
        by_id[r.watch_id].extend(r.events)
    first = by_id[ids[0]]
    assert [e.prev_kv.value for e in first] == [b"", b"1", b"2"], first
    assert [e.type for e in by_id[ids[1]]] == [1] and [e.type for e in by_id[ids[2]]] == [0, 0]
    s.close()


def check_watch_ids_and_cancel(c):
    k = key("watch-ids")
    s = WatchStream(c.channel)
    assert s.create(k, watch_id=77).watch_id == 77
    again = s.create(k, watch_id=77)
    assert again.created and again.canceled and again.watch_id == -1 and "duplicate watch ID" in again.cancel_reason
    empty = s.create(k, range_end=k)
    assert empty.canceled and "range is empty" in empty.cancel_reason
    s.requests.put(rpc.WatchRequest(cancel_request=rpc.WatchCancelRequest(watch_id=77)))
    r = s.next()
    assert r.canceled and r.watch_id == 77
    c.put(k, "unseen")
    other = s.create(k, watch_id=78)
    assert other.created and other.watch_id == 78
    c.put(k, "seen")
    assert s.events(1)[0].kv.value == b"seen"
    s.close()


def check_watch_of_a_txn_is_one_answer(c):
    p, t = key("watch-txn/"), c.transactions
    s = WatchStream(c.channel)
    s.create(p, range_end=p[:-1] + "0")
    c.transaction(compare=[], success=[t.put(p + str(n), "v") for n in range(5)], failure=[])
    r = s.next()
    assert len(r.events) == 5 and len({e.kv.mod_revision for e in r.events}) == 1
    s.close()


def progress_request():
    """`WatchProgressRequest` is newer than the client's messages: field 3, empty."""
    return rpc.WatchRequest.FromString(b"\x1a\x00")


def check_watch_progress(c):
    k = key("watch-progress")
    s = WatchStream(c.channel)
    s.create(k)
    revision = c.put(key("elsewhere"), "x").header.revision
    s.requests.put(progress_request())
    r = s.next()
    assert r.watch_id == -1 and not r.events and r.header.revision >= revision
    s.close()


@only_dwcp
def check_progress_comes_behind_history(c):
    k = key("watch-progress-history")
    first = c.put(k, "0").header.revision
    for n in range(200):
        last = c.put(k, str(n)).header.revision
    s = WatchStream(c.channel)
    s.create(k, start_revision=first)
    s.requests.put(progress_request())
    seen = 0
    while True:
        r = s.next()
        seen += len(r.events)
        if r.watch_id == -1:
            break
    assert seen == 201 and r.header.revision >= last
    s.close()


def check_watch_fragments(c):
    p = key("watch-fragment/")
    first = None
    for n in range(4):
        r = c.put(p + str(n), b"x" * (1024 * 1024))
        first = first or r.header.revision
    s = WatchStream(c.channel)
    assert s.create(p, range_end=p[:-1] + "0", start_revision=first, fragment=True).created
    assert len(s.events(4)) == 4
    s.close()


def check_watch_that_does_not_read(c):
    """More changes than any buffer holds, unread; then all of them, each once, in order."""
    p, kv = key("watch-slow/"), rpc.KVStub(c.channel)
    start = c.put(p + "begin", "").header.revision + 1
    channel = grpc.insecure_channel(ENDPOINT)
    create = rpc.WatchCreateRequest(key=p.encode(), range_end=(p[:-1] + "0").encode(), start_revision=start)
    requests = queue.Queue()
    requests.put(rpc.WatchRequest(create_request=create))
    responses = rpc.WatchStub(channel).Watch(iter(requests.get, None), timeout=120)
    assert next(responses).created
    n, value = 6000, b"x" * 4000
    flying = []
    for i in range(n):
        flying.append(kv.Put.future(rpc.PutRequest(key=b"%s%d" % (p.encode(), i), value=value), timeout=60))
        if len(flying) >= 256:
            flying.pop(0).result()
    for call in flying:
        call.result()
    seen = []
    for response in responses:
        assert not response.canceled, response
        seen.extend(e.kv.mod_revision for e in response.events)
        if len(seen) >= n:
            break
    assert len(seen) == n and seen == sorted(set(seen))
    requests.put(None)
    channel.close()


def check_watch_behind_compaction(c):
    k = key("watch-compacted")
    first = c.put(k, "1").header.revision
    c.put(k, "2")
    last = c.put(k, "3").header.revision
    c.compact(last)

    def compacted():
        # A member may compact a moment after the leader has answered.
        s = WatchStream(c.channel)
        assert s.create(k, start_revision=first).created
        r = s.next()
        s.close()
        return r.canceled and r.compact_revision >= last

    until(compacted)
    kv = rpc.KVStub(c.channel)
    refused(grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted",
            lambda: kv.Range(rpc.RangeRequest(key=k.encode(), revision=first), timeout=WAIT_S))
    refused(grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted",
            lambda: kv.Compact(rpc.CompactionRequest(revision=first), timeout=WAIT_S))
    assert c.get(k)[0] == b"3"


# ---------------------------------------------------------------- leases


def check_lease(c):
    k = key("lease")
    lease = c.lease(60)
    c.put(k, "v", lease=lease)
    assert c.get(k)[1].lease_id == lease.id
    info = c.get_lease_info(lease.id)
    assert info.grantedTTL == 60 and 0 < info.TTL <= 60 and list(info.keys) == [k.encode()]
    assert lease.refresh()[0].TTL == 60
    assert lease.id in [l.ID for l in rpc.LeaseStub(c.channel).LeaseLeases(rpc.LeaseLeasesRequest(), timeout=WAIT_S).leases] \
        if hasattr(rpc, "LeaseLeasesRequest") else True
    lease.revoke()
    assert c.get(k)[0] is None and c.get_lease_info(lease.id).TTL == -1
    refused(grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found",
            lambda: rpc.LeaseStub(c.channel).LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease.id), timeout=WAIT_S))


def check_lease_names(c):
    stub, wanted = rpc.LeaseStub(c.channel), time.time_ns() & 0xFFFFFFFF | 1 << 40
    assert stub.LeaseGrant(rpc.LeaseGrantRequest(TTL=30, ID=wanted), timeout=WAIT_S).ID == wanted
    refused(grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists",
            lambda: stub.LeaseGrant(rpc.LeaseGrantRequest(TTL=30, ID=wanted), timeout=WAIT_S))
    refused(grpc.StatusCode.OUT_OF_RANGE, "etcdserver: too large lease TTL",
            lambda: stub.LeaseGrant(rpc.LeaseGrantRequest(TTL=9_000_000_001), timeout=WAIT_S))
    gone = next(stub.LeaseKeepAlive(iter([rpc.LeaseKeepAliveRequest(ID=wanted + 1)]), timeout=WAIT_S))
    assert gone.TTL == 0 and gone.ID == wanted + 1
    stub.LeaseRevoke(rpc.LeaseRevokeRequest(ID=wanted), timeout=WAIT_S)


def check_lease_runs_out(c):
    k = key("lease-out")
    events, cancel = c.watch(k)
    began = time.monotonic()
    c.put(k, "v", lease=c.lease(2))
    assert type(next(events)).__name__ == "PutEvent"
    assert type(next(events)).__name__ == "DeleteEvent"
    assert 1.5 < time.monotonic() - began < WAIT_S
    cancel()


# ---------------------------------------------------------------- locks and elections


def check_client_lock(c):
    with c.lock(RUN + "client-lock", ttl=10) as held:
        assert held.is_acquired()
        assert not c.lock(RUN + "client-lock", ttl=10).acquire(timeout=1)
    other = c.lock(RUN + "client-lock", ttl=10)
    assert other.acquire(timeout=WAIT_S)
    other.release()


def check_lock_service(c):
    r, name = Recipes(c.channel), key("service-lock").encode()
    one, two = c.lease(30), c.lease(30)
    first = r.lock(M["LockRequest"](name=name, lease=one.id), timeout=WAIT_S)
    assert first.key == name + b"/%x" % one.id
    again = r.lock(M["LockRequest"](name=name, lease=one.id), timeout=WAIT_S)
    assert again.key == first.key
    waiting = r.lock.future(M["LockRequest"](name=name, lease=two.id), timeout=60)
    time.sleep(0.5)
    assert not waiting.done()
    r.unlock(M["UnlockRequest"](key=first.key), timeout=WAIT_S)
    second = waiting.result(timeout=WAIT_S)
    assert second.key == name + b"/%x" % two.id and second.header.revision > first.header.revision
    two.revoke()
    assert c.get(second.key)[0] is None
    refused(grpc.StatusCode.NOT_FOUND if DWCP else grpc.StatusCode.UNKNOWN, "etcdserver: requested lease not found",
            lambda: r.lock(M["LockRequest"](name=name, lease=two.id), timeout=WAIT_S))
    one.revoke()


def check_lock_that_was_given_up(c):
    r, name = Recipes(c.channel), key("given-up").encode()
    one, two = c.lease(30), c.lease(30)
    first = r.lock(M["LockRequest"](name=name, lease=one.id), timeout=WAIT_S)
    waiting = r.lock.future(M["LockRequest"](name=name, lease=two.id), timeout=60)
    place = name + b"/%x" % two.id
    until(lambda: c.get(place)[1] is not None)
    waiting.cancel()
    until(lambda: c.get(place)[1] is None)
    refused(grpc.StatusCode.DEADLINE_EXCEEDED, "", lambda: r.lock(M["LockRequest"](name=name, lease=two.id), timeout=1))
    until(lambda: c.get(place)[1] is None)
    r.unlock(M["UnlockRequest"](key=first.key), timeout=WAIT_S)
    one.revoke()
    two.revoke()


@only_dwcp
def check_lock_is_not_given_to_the_dead(c):
    r, name = Recipes(c.channel), key("dead").encode()
    one, two = c.lease(30), c.lease(30)
    first = r.lock(M["LockRequest"](name=name, lease=one.id), timeout=WAIT_S)
    waiting = r.lock.future(M["LockRequest"](name=name, lease=two.id), timeout=60)
    until(lambda: c.get(name + b"/%x" % two.id)[1] is not None)
    two.revoke()
    r.unlock(M["UnlockRequest"](key=first.key), timeout=WAIT_S)
    refused(grpc.StatusCode.UNKNOWN, "session is expired", lambda: waiting.result(timeout=WAIT_S))
    one.revoke()


def check_election(c):
    r, name = Recipes(c.channel), key("election").encode()
    one, two = c.lease(30), c.lease(30)
    refused(grpc.StatusCode.UNKNOWN, "election: no leader", lambda: r.leader(M["LeaderRequest"](name=name), timeout=WAIT_S))
    told = queue.Queue()
    observing = r.observe(M["LeaderRequest"](name=name), timeout=60)

    def observe():
        try:
            for response in observing:
                told.put(response.kv.value)
        except grpc.RpcError:
            told.put(None)

    threading.Thread(target=observe, daemon=True).start()
    first = r.campaign(M["CampaignRequest"](name=name, lease=one.id, value=b"one"), timeout=WAIT_S)
    assert first.leader.key == name + b"/%x" % one.id and first.leader.rev == first.header.revision
    waiting = r.campaign.future(M["CampaignRequest"](name=name, lease=two.id, value=b"two"), timeout=60)
    assert r.leader(M["LeaderRequest"](name=name), timeout=WAIT_S).kv.value == b"one"
    assert told.get(timeout=WAIT_S) == b"one"
    r.proclaim(M["ProclaimRequest"](leader=first.leader, value=b"uno"), timeout=WAIT_S)
    assert r.leader(M["LeaderRequest"](name=name), timeout=WAIT_S).kv.value == b"uno"
    assert told.get(timeout=WAIT_S) == b"uno"
    assert not waiting.done()
    r.resign(M["ResignRequest"](leader=first.leader), timeout=WAIT_S)
    assert waiting.result(timeout=WAIT_S).leader.key == name + b"/%x" % two.id
    assert told.get(timeout=WAIT_S) == b"two"
    refused(grpc.StatusCode.UNKNOWN, "election: not leader",
            lambda: r.proclaim(M["ProclaimRequest"](leader=first.leader, value=b"no"), timeout=WAIT_S))
    observing.cancel()
    assert told.get(timeout=WAIT_S) is None
    one.revoke()
    two.revoke()


def until(true):
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "did not come true in %d s" % WAIT_S
        time.sleep(0.02)


# ---------------------------------------------------------------- cluster and maintenance


def check_members_and_status(c):
    members = list(c.members)
    assert members and all(m.id for m in members)
    status = c.status()
    assert status.version.startswith("3.") and status.leader is not None and status.leader.id in [m.id for m in members]
    assert status.raft_index > 0 and status.db_size > 0
    assert list(c.list_alarms()) == []
    refused(grpc.StatusCode.NOT_FOUND, "etcdserver: member not found",
            lambda: rpc.ClusterStub(c.channel).MemberRemove(rpc.MemberRemoveRequest(ID=12345), timeout=WAIT_S))


def check_hash_and_defragment(c):
    c.put(key("hash"), "1")
    until(lambda: c.hash() == c.hash())
    c.defragment()


def check_snapshot(c):
    c.put(key("snapshot"), "in it" * 1000)
    out = io.BytesIO()
    c.snapshot(out)
    data = out.getvalue()
    body, digest = data[:-32], data[-32:]
    assert len(body) % 512 == 0 and hashlib.sha256(body).digest() == digest
    assert b"in it" in body


def check_auth_is_off(c):
    code, stub = grpc.StatusCode, rpc.AuthStub(c.channel)
    refused(code.FAILED_PRECONDITION, "etcdserver: authentication is not enabled",
            lambda: stub.Authenticate(rpc.AuthenticateRequest(name="a", password="b"), timeout=WAIT_S))
    refused(code.FAILED_PRECONDITION, "etcdserver: root user does not exist",
            lambda: stub.AuthEnable(rpc.AuthEnableRequest(), timeout=WAIT_S))
    assert list(stub.UserList(rpc.AuthUserListRequest(), timeout=WAIT_S).users) == []
    assert list(stub.RoleList(rpc.AuthRoleListRequest(), timeout=WAIT_S).roles) == []


@only_dwcp
def check_keyspaces_are_named_by_metadata(c):
    kv = rpc.KVStub(c.channel)
    refused(grpc.StatusCode.NOT_FOUND, "no keyspace \"nowhere\"",
            lambda: kv.Range(rpc.RangeRequest(key=b"k"), timeout=WAIT_S, metadata=[("dwcp-keyspace", "nowhere")]))


# ---------------------------------------------------------------- the run


def main():
    global DWCP, ENDPOINT
    args = sys.argv[1:]
    DWCP = "--etcd" not in args
    args = [a for a in args if a != "--etcd"]
    ENDPOINT = args[0]
    host, port = ENDPOINT.rsplit(":", 1)
    checks = {n[len("check_"):]: f for n, f in globals().items() if n.startswith("check_")}
    wanted = args[1:] or [n for n, f in checks.items() if DWCP or not getattr(f, "only_dwcp", False)]
    failed = 0
    client = etcd3.client(host=host, port=int(port), timeout=WAIT_S)
    for name in wanted:
        began = time.monotonic()
        try:
            checks[name](client)
            print("ok      %-40s %6.2fs" % (name, time.monotonic() - began), flush=True)
        except Exception:
            failed += 1
            print("FAILED  %s" % name, flush=True)
            traceback.print_exc()
    print("%d of %d checks failed" % (failed, len(wanted)) if failed else "all %d checks hold" % len(wanted), flush=True)
    # The client's own threads would keep the process.
    os._exit(1 if failed else 0)


DWCP, ENDPOINT = True, ""

if __name__ == "__main__":
    main()
