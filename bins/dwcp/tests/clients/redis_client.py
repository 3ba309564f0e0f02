"""Drives a Redis endpoint with the Python client redis, unmodified, in RESP2 and RESP3.

Usage: redis_client.py PORT [--redis] [name ...]     (all checks, or those named)

Each check is a function `check_*(client, protocol)`; it fails by assertion. Run against Debian's redis-server with
--redis it tells whether the checks themselves are right: what only dwcp promises is marked `only_dwcp`.
"""

import sys
import threading
import time
import traceback

import redis

RUN = "run-%x:" % time.time_ns()
WAIT_S = 15
PORT = int(sys.argv[1])
REDIS = "--redis" in sys.argv
NAMES = [a for a in sys.argv[2:] if not a.startswith("--")]


def key(name):
    return RUN + name


def connect(protocol, **options):
    return redis.Redis(port=PORT, protocol=protocol, decode_responses=True, socket_timeout=WAIT_S, **options)


def refused(call, *parts):
    try:
        call()
    except redis.ResponseError as e:
        for part in parts:
            assert part in str(e), (part, str(e))
        return
    raise AssertionError("it was not refused")


def only_dwcp(check):
    check.only_dwcp = True
    return check


def check_strings(r, _):
    k = key("s")
    assert r.get(k) is None
    assert r.set(k, "v") is True
    assert r.get(k) == "v" and r.strlen(k) == 1 and r.type(k) == "string" and r.exists(k, k) == 2
    assert r.mset({k: "a", key("s2"): "b"}) is True
    assert r.mget(k, key("none"), key("s2")) == ["a", None, "b"]
    assert r.getrange(k, 0, -1) == "a"
    assert r.getdel(k) == "a" and r.get(k) is None
    raw = redis.Redis(port=PORT)
    blob = bytes(range(256)) * 100
    raw.set(k, blob)
    assert raw.get(k) == blob
    assert r.delete(k, key("s2"), key("none")) == 2


def check_counters(r, _):
    k = key("n")
    assert r.incr(k) == 1 and r.incrby(k, 41) == 42 and r.decr(k) == 41 and r.decrby(k, 40) == 1
    r.set(k, 10)
    assert r.incr(k) == 11 and r.get(k) == "11"
    r.set(k, "text")
    refused(lambda: r.incr(k), "value is not an integer or out of range")
    r.set(k, 9223372036854775807)
    refused(lambda: r.incr(k), "overflow")


def check_time_to_live(r, _):
    k = key("t")
    assert r.ttl(k) == -2
    r.set(k, "v")
    assert r.ttl(k) == -1
    assert r.expire(k, 100) is True and 95 <= r.ttl(k) <= 100 and 95000 < r.pttl(k) <= 100000
    assert r.persist(k) is True and r.ttl(k) == -1
    r.set(k, "v", px=60)
    deadline = time.monotonic() + WAIT_S
    while r.get(k) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert r.exists(k) == 0
    r.setex(k, 50, "v")
    assert r.getex(k, persist=True) == "v" and r.ttl(k) == -1
    assert r.expireat(k, int(time.time()) - 10) is True and r.get(k) is None


def check_sets(r, _):
    a, b = key("a"), key("b")
    assert r.sadd(a, "x", "y") == 2 and r.sadd(a, "x") == 0
    assert r.smembers(a) == {"x", "y"} and r.scard(a) == 2
    assert r.sismember(a, "x") and not r.sismember(a, "z") and r.smismember(a, ["x", "z"]) == [1, 0]
    r.sadd(b, "y", "z")
    assert set(r.sunion(a, b)) == {"x", "y", "z"} and set(r.sinter(a, b)) == {"y"} and set(r.sdiff(a, b)) == {"x"}
    assert r.srandmember(a) in {"x", "y"} and len(r.srandmember(a, 5)) == 2 and len(r.srandmember(a, -5)) == 5
    assert r.srem(a, "x", "q") == 1 and r.srem(a, "y") == 1 and r.exists(a) == 0
    many = ["m%04d" % i for i in range(500)]
    r.sadd(b, *many)
    assert set(many) <= set(r.sscan_iter(b, match="m*", count=50))


def check_hashes(r, _):
    h = key("h")
    assert r.hset(h, mapping={"f": "1", "g": "2"}) == 2 and r.hset(h, "f", "3") == 0
    assert r.hget(h, "f") == "3" and r.hget(h, "none") is None and r.hgetall(h) == {"f": "3", "g": "2"}
    assert r.hmget(h, "f", "none") == ["3", None] and r.hexists(h, "g") and r.hlen(h) == 2
    assert sorted(r.hkeys(h)) == ["f", "g"] and sorted(r.hvals(h)) == ["2", "3"]
    assert r.hincrby(h, "n", 5) == 5 and r.hincrby(h, "n", -2) == 3 and r.hget(h, "n") == "3"
    assert dict(r.hscan_iter(h)) == {"f": "3", "g": "2", "n": "3"}
    assert r.hdel(h, "f", "g", "n") == 3 and r.exists(h) == 0


def check_lists(r, _):
    q = key("l")
    assert r.rpush(q, "b", "c") == 2 and r.lpush(q, "a") == 3
    assert r.lrange(q, 0, -1) == ["a", "b", "c"] and r.llen(q) == 3 and r.lindex(q, -1) == "c"
    assert r.linsert(q, "before", "b", "x") == 4 and r.lset(q, 0, "A") is True
    assert r.lrange(q, 0, -1) == ["A", "x", "b", "c"]
    r.rpush(q, "x")
    assert r.lrem(q, 1, "x") == 1 and r.lrange(q, 0, -1) == ["A", "b", "c", "x"]
    assert r.lpos(q, "c") == 2 and r.lpos(q, "none") is None and r.lpos(q, "x", rank=-1, count=0) == [3]
    assert r.type(q) == "list" and q in set(r.scan_iter(match=q, _type="list"))
    assert r.ltrim(q, 1, 2) is True and r.lrange(q, 0, -1) == ["b", "c"]
    refused(lambda: r.lset(q, 9, "z"), "index out of range")


def check_wrong_type(r, _):
    k = key("w")
    r.sadd(k, "x")
    refused(lambda: r.get(k), "WRONGTYPE", "wrong kind of value")
    refused(lambda: r.hset(k, "f", "x"), "WRONGTYPE")
    # A write replaces whatever is there.
    assert r.set(k, "v") is True and r.get(k) == "v"


def check_keys_and_scans(r, _):
    names = {key("k:%03d" % i) for i in range(137)}
    with r.pipeline(transaction=False) as p:
        for name in names:
            p.set(name, "v")
        assert all(p.execute())
    assert set(r.scan_iter(match=key("k:*"), count=10)) == names
    assert set(r.keys(key("k:*"))) == names
    assert r.dbsize() >= len(names)
    assert set(r.scan_iter(match=key("k:*"), _type="set")) == set()
    assert r.unlink(*names) == len(names)


def check_pipelines(r, _):
    k = key("p")
    with r.pipeline(transaction=False) as p:
        for i in range(2000):
            p.incr(k)
            p.sadd(key("ps"), i)
        replies = p.execute()
    assert replies[0::2] == list(range(1, 2001)) and set(replies[1::2]) == {1}
    with r.pipeline(transaction=False) as p:
        p.incr(k).sadd(k, "x").get(k)
        ok, error, value = p.execute(raise_on_error=False)
    assert ok == 2001 and isinstance(error, redis.ResponseError) and value == "2001"


def check_replies_larger_than_any_buffer(r, _):
    """A client that sends all of a long pipeline before it reads the first reply."""
    k = key("big")
    r.set(k, "x" * 50_000)
    with r.pipeline(transaction=False) as p:
        for _ in range(1000):
            p.get(k)
        assert all(len(v) == 50_000 for v in p.execute())


def check_transactions(r, _):
    k = key("x")
    with r.pipeline(transaction=True) as p:
        p.set(k, 1).incr(k).sadd(key("xs"), "m").get(k)
        assert p.execute() == [True, 2, 1, "2"]
    # A command that fails stops no other, as in Redis.
    with r.pipeline(transaction=True) as p:
        p.set(k, "text").incr(k).get(k)
        replies = p.execute(raise_on_error=False)
        assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == "text"
    # One that can't be queued spoils all.
    c = connect(2, single_connection_client=True)
    c.execute_command("MULTI")
    c.execute_command("SET", k, "never")
    refused(lambda: c.execute_command("NOSUCH"), "unknown command 'NOSUCH'")
    try:
        c.execute_command("EXEC")
        raise AssertionError("a spoiled transaction was done")
    except redis.exceptions.ExecAbortError as e:
        assert "Transaction discarded because of previous errors" in str(e)
    assert r.get(k) == "text"
    refused(lambda: c.execute_command("EXEC"), "EXEC without MULTI")


def check_changes(r, protocol):
    """Keyspace notifications; real Redis has to be told first."""
    if REDIS:
        r.config_set("notify-keyspace-events", "AKE")
    k = key("c")
    listener = connect(protocol).pubsub(ignore_subscribe_messages=True)
    listener.subscribe("__keyspace@0__:" + k)
    listener.psubscribe("__keyevent@0__:s*")
    heard, done = [], threading.Event()

    def listen():
        deadline = time.monotonic() + WAIT_S
        while len(heard) < 4 and time.monotonic() < deadline:
            message = listener.get_message(timeout=1)
            if message and (k in message["data"] or k in message["channel"]):
                heard.append((message["type"], message["channel"], message["data"]))
        done.set()

    # The subscriptions stand once they are confirmed.
    for _ in range(2):
        listener.get_message(timeout=WAIT_S)
    threading.Thread(target=listen, daemon=True).start()
    r.set(k, "v")
    r.delete(k)
    r.sadd(k, "m")
    assert done.wait(WAIT_S * 2)
    by_key = [h for h in heard if h[0] == "message"]
    by_event = [h for h in heard if h[0] == "pmessage"]
    assert ("message", "__keyspace@0__:" + k, "set") in by_key, heard
    assert ("pmessage", "__keyevent@0__:set", k) in by_event, heard
    listener.unsubscribe()
    listener.punsubscribe()
    listener.close()


def check_connections(r, protocol):
    c = connect(protocol, client_name="me", single_connection_client=True)
    assert c.client_getname() == "me" and c.client_id() > 0 and c.ping() is True and c.echo("hi") == "hi"
    assert c.client_setname("you") is True and c.client_getname() == "you"
    seconds, micros = c.time()
    assert abs(seconds - time.time()) < 60 and 0 <= micros < 1_000_000
    info = c.info()
    assert info["redis_version"].startswith("7.") and info["connected_clients"] >= 1
    assert "db0" in c.info("keyspace") or c.dbsize() == 0
    assert c.config_get("save") is not None and "appendonly" in c.config_get("append*")
    assert c.command_count() > 50 and "get" in c.command()
    assert c.select(0) is True
    refused(lambda: c.select(99), "DB index is out of range")
    refused(lambda: c.execute_command("NOSUCH", "a"), "unknown command 'NOSUCH', with args beginning with: 'a' ")
    refused(lambda: c.execute_command("GET"), "wrong number of arguments for 'get' command")


@only_dwcp
def check_what_cannot_be_kept_names_the_way_out(r, _):
    k = key("lock")
    refused(lambda: r.setnx(k, "me"), "NOTKEPT", "SETNX", "strong keyspace 'default'", "etcdctl lock")
    refused(lambda: r.set(k, "me", nx=True), "NOTKEPT", "SET NX", "etcdctl lock")
    refused(lambda: r.spop(k), "NOTKEPT", "SPOP")
    refused(lambda: r.lpop(k), "NOTKEPT", "LPOP")
    refused(lambda: r.append(k, "x"), "NOTKEPT", "RPUSH")
    c = connect(2, single_connection_client=True)
    refused(lambda: c.execute_command("WATCH", k), "NOTKEPT", "WATCH")
    refused(lambda: r.publish("c", "m"), "PUBLISH")
    refused(lambda: c.execute_command("DEBUG", "SLEEP", "1"), "DEBUG")
    assert r.get(k) is None


@only_dwcp
def check_explanations(r, _):
    k = key("e")
    r.execute_command("DWCP.MVSET", k, "v")
    assert r.execute_command("DWCP.SIBLINGS", k) == ["v"] and r.get(k) == "v"
    import json

    explained = json.loads(r.execute_command("DWCP.EXPLAIN", k))
    assert explained["shown"] == "v" and explained["entries"][0]["dot"]["sequence"] > 0, explained
    status = json.loads(r.execute_command("DWCP.STATUS"))
    assert status["keyspace"] == "eventual" and len(status["peers"]) == 2 and len(status["fingerprint"]) == 32
    info = r.info("replication")
    assert info["dwcp_keyspace"] == "eventual" and "behind" in str(info["peer0"])


@only_dwcp
def check_bounded_counters(r, _):
    k = key("capacity")
    assert r.execute_command("DWCP.BGRANT", k, 10) == 10
    assert r.execute_command("DWCP.BSPEND", k, 4) == 6
    held = r.execute_command("DWCP.BGET", k)
    if isinstance(held, list):
        held = dict(zip(held[::2], held[1::2]))
    assert held["total"] == "6" and held["here"] == "6", held
    refused(lambda: r.execute_command("DWCP.BSPEND", k, 7), "NORIGHTS", "this node may spend 6")
    refused(lambda: r.incr(k), "bounded counter")
    refused(lambda: r.execute_command("DWCP.BMOVE", k, -1, 1), "not an integer")
    refused(lambda: r.execute_command("DWCP.BMOVE", k, 99, 1), "no other active replica")


def check_what_tools_look_for(r, _):
    before = r.info("all")
    for name in ("redis_version", "connected_clients", "used_memory", "used_memory_human", "total_commands_processed",
                 "rdb_bgsave_in_progress", "aof_rewrite_in_progress", "role"):
        assert name in before, name
    k = key("tools")
    for n in range(5):
        r.get(k)
    calls = r.info("commandstats")["cmdstat_get"]["calls"]
    assert calls >= before.get("cmdstat_get", {"calls": 0})["calls"] + 5
    found = r.config_get("*")
    assert {"maxclients", "appendfsync", "databases", "save"} <= found.keys(), found
    assert "cmdstat_get" not in r.info()


@only_dwcp
def check_bounds(r, _):
    k = key("bound")
    refused(lambda: r.set(k, "x" * (2 << 20)), "over the limit of")
    # The connection goes on.
    assert r.set(k, "x" * (1 << 20)) is True and r.strlen(k) == 1 << 20


def main():
    checks = [(n, f) for n, f in globals().items() if n.startswith("check_")]
    failed = 0
    for protocol in (2, 3):
        client = connect(protocol)
        for name, check in checks:
            if (NAMES and name not in NAMES) or (REDIS and hasattr(check, "only_dwcp")):
                continue
            global RUN
            RUN = "run-%x:" % time.time_ns()
            begun = time.monotonic()
            try:
                check(client, protocol)
                print("ok      RESP%d %s (%.2f s)" % (protocol, name, time.monotonic() - begun), flush=True)
            except Exception:
                failed += 1
                print("FAILED  RESP%d %s" % (protocol, name), flush=True)
                traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
