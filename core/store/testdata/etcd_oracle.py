#!/usr/bin/env python3
"""Asks a real etcd what it answers to random requests, and writes both down.

    etcd_oracle.py SEED REQUESTS > etcd-3.4.txt

Starts Debian's etcd on a throw-away directory and speaks to its JSON gateway. The test
`tests::etcd` gives the same requests to the store and expects the same answers. Lines:

    request                      > answer
    put KEY VALUE LEASE FLAGS    put rREVISION PREV
    del KEY END FLAGS            del rREVISION nDELETED [KVS]
    get KEY END LIMIT REVISION ORDER TARGET FLAGS MINMOD MAXMOD MINCREATE MAXCREATE
                                 get rREVISION nCOUNT more [KVS]
    txn N COMPARES N OPS N OPS   txn rREVISION true|false { ANSWERS }
    compact REVISION, grant ID TTL, revoke ID

`-` is an empty word and `0` the one byte zero; FLAGS are letters, `.` is none.
"""
import base64, http.client, json, random, shutil, subprocess, sys, tempfile, time

KEYS = ["a", "b", "ba", "c", "d"]
ENDS = ["-", "-", "-", "0", "a", "c", "e"]
VALUES = ["-", "1", "2", "3"]


def raw(word):
    return b"" if word == "-" else b"\0" if word == "0" else word.encode()


def b64(word):
    return base64.b64encode(raw(word)).decode()


class Requests:
    def __init__(self, rng):
        self.rng, self.revision = rng, 1

    def pick(self, options):
        return self.rng.choice(options)

    def flags(self, letters, odds):
        return "".join(f for f in letters if self.rng.random() < odds) or "."

    def put(self):
        lease = self.pick(["0"] * 5 + ["1", "2", "3"])
        return ["put", self.pick(KEYS), self.pick(VALUES), lease, self.flags("p", 0.4) if self.rng.random() < 0.8 else self.flags("vl", 0.5)]

    def delete(self, ends=ENDS):
        return ["del", self.pick(KEYS), self.pick(ends), self.flags("p", 0.5)]

    def some_revision(self):
        return str(max(0, self.revision + self.rng.randint(-8, 1)))

    def get(self):
        bound = lambda: self.some_revision() if self.rng.random() < 0.15 else "0"
        return ["get", self.pick(KEYS), self.pick(ENDS), self.pick(["0", "0", "1", "2"]),
                self.some_revision() if self.rng.random() < 0.4 else "0",
                self.pick(["NONE", "NONE", "ASCEND", "DESCEND"]),
                self.pick(["KEY", "VERSION", "CREATE", "MOD", "VALUE"]), self.flags("kc", 0.15),
                bound(), bound(), bound(), bound()]

    def compare(self):
        target = self.pick(["VERSION", "CREATE", "MOD", "VALUE", "LEASE"])
        value = {"VERSION": self.pick("0123"), "VALUE": self.pick(VALUES), "LEASE": self.pick("0012")}
        return [self.pick(KEYS), self.pick(ENDS), self.pick(["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]),
                target, value.get(target) or self.pick(["0", self.some_revision()])]

    def txn(self, depth):
        words = ["txn"]
        compares = [self.compare() for _ in range(self.pick([0, 1, 1, 2]))]
        words += [str(len(compares))] + sum(compares, [])
        for _ in range(2):
            ops = [self.op(depth) for _ in range(self.pick([0, 1, 2, 2, 3]))]
            words += [str(len(ops))] + sum(ops, [])
        return words

    def op(self, depth):
        kind = self.rng.random()
        if kind < 0.45: return self.put()
        # etcd 3.4 does not see that a delete to the end of all keys covers a put; the store does.
        if kind < 0.6: return self.delete([end for end in ENDS if end != "0"])
        if kind < 0.85 or depth == 0: return self.get()
        return self.txn(depth - 1)

    def any(self):
        kind = self.rng.random()
        if kind < 0.3: return self.put()
        if kind < 0.4: return self.delete()
        if kind < 0.6: return self.get()
        if kind < 0.9: return self.txn(2)
        if kind < 0.94: return ["compact", self.some_revision()]
        if kind < 0.98: return ["grant", self.pick("123"), self.pick(["600", "3600", "9000000001"])]
        return ["revoke", self.pick("123")]


def message(words):
    """The JSON of a request; takes its words off the list."""
    take = lambda: words.pop(0)
    kind = take()
    if kind == "put":
        key, value, lease, flags = take(), take(), take(), take()
        return kind, {"key": b64(key), "value": b64(value), "lease": lease, "prev_kv": "p" in flags,
                      "ignore_value": "v" in flags, "ignore_lease": "l" in flags}
    if kind == "del":
        key, end, flags = take(), take(), take()
        return kind, {"key": b64(key), "range_end": b64(end), "prev_kv": "p" in flags}
    if kind == "get":
        names = ["key", "range_end", "limit", "revision", "sort_order", "sort_target", "flags",
                 "min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"]
        m = {name: take() for name in names}
        flags = m.pop("flags")
        m.update(key=b64(m["key"]), range_end=b64(m["range_end"]), keys_only="k" in flags, count_only="c" in flags)
        return kind, m
    if kind == "txn":
        m = {"compare": []}
        for _ in range(int(take())):
            key, end, op, target, value = take(), take(), take(), take(), take()
            field = {"CREATE": "create_revision", "MOD": "mod_revision"}.get(target, target.lower())
            m["compare"].append({"key": b64(key), "range_end": b64(end), "result": op, "target": target,
                                 field: b64(value) if target == "VALUE" else value})
        for way in ["success", "failure"]:
            m[way] = []
            for _ in range(int(take())):
                inner, body = message(words)
                name = {"put": "request_put", "del": "request_delete_range", "get": "request_range", "txn": "request_txn"}
                m[way].append({name[inner]: body})
        return kind, m
    if kind == "compact":
        return kind, {"revision": take()}
    if kind == "grant":
        return kind, {"ID": take(), "TTL": take()}
    return kind, {"ID": take()}


def text(b):
    return base64.b64decode(b or "").decode() or "-"


def kv(k):
    return ":".join([text(k.get("key")), text(k.get("value"))] + [k.get(n, "0") for n in
                    ["create_revision", "mod_revision", "version", "lease"]])


def kvs(list_):
    return "[" + " ".join(kv(k) for k in list_ or []) + "]"


def answer(kind, a):
    r = "r" + a.get("header", {}).get("revision", "0")
    if kind == "put": return f"put {r} {kv(a['prev_kv']) if 'prev_kv' in a else '-'}"
    if kind == "del": return f"del {r} n{a.get('deleted', '0')} {kvs(a.get('prev_kvs'))}"
    if kind == "get": return f"get {r} n{a.get('count', '0')} {str(a.get('more', False)).lower()} {kvs(a.get('kvs'))}"
    if kind == "txn":
        names = {"response_put": "put", "response_delete_range": "del", "response_range": "get", "response_txn": "txn"}
        inner = [answer(names[n], body) for r_ in a.get("responses", []) for n, body in r_.items()]
        # etcd leaves the headers of inner transactions empty.
        return f"txn {r} {str(a.get('succeeded', False)).lower()} {{ {' ; '.join(inner)} }}"
    if kind == "grant": return f"grant {r} {a['ID']} {a['TTL']}"
    return f"{kind} {r}"


PATHS = {"put": "/v3/kv/put", "del": "/v3/kv/deleterange", "get": "/v3/kv/range", "txn": "/v3/kv/txn",
         "compact": "/v3/kv/compaction", "grant": "/v3/lease/grant", "revoke": "/v3/lease/revoke"}


def main():
    seed, n = int(sys.argv[1]), int(sys.argv[2])
    requests = Requests(random.Random(seed))
    folder = tempfile.mkdtemp(prefix="etcd-oracle-", dir="/dev/shm")
    client, peer = "http://127.0.0.1:42379", "http://127.0.0.1:42380"
    etcd = subprocess.Popen(["etcd", "--data-dir", folder, "--listen-client-urls", client, "--advertise-client-urls", client,
                             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                             "--initial-cluster", f"default={peer}"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        link = None
        for _ in range(100):
            try:
                link = http.client.HTTPConnection("127.0.0.1", 42379, timeout=10)
                link.request("POST", "/v3/kv/range", json.dumps({"key": b64("a")}))
                if link.getresponse().read() and True: break
            except OSError:
                time.sleep(0.1)
        for _ in range(n):
            words = requests.any()
            kind, body = message(list(words))
            link.request("POST", PATHS[kind], json.dumps(body))
            a = json.loads(link.getresponse().read())
            said = "! " + a["error"] if "error" in a else answer(kind, a)
            revision = a.get("header", {}).get("revision")
            if revision: requests.revision = int(revision)
            print(" ".join(words), ">", said)
    finally:
        etcd.kill()
        etcd.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
