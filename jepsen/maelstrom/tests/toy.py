#!/usr/bin/env python3
"""A toy node for the judge's own tests: `toy.py WORKLOAD [LIE]`.

The first node holds all state and the others hand their questions on to it: honest, and no use
when that node is away. A lie breaks exactly one promise; the judge has to find each one.
"""

import json
import sys


class Toy:
    def __init__(self, workload: str, lie: str):
        self.workload, self.lie = workload, lie
        self.name, self.names, self.next_id, self.asked = None, [], 0, 0
        self.state, self.copy, self.pending = {}, {}, []
        self.commits = {}

    def say(self, dest: str, body: dict) -> None:
        print(json.dumps({"src": self.name, "dest": dest, "body": body}), flush=True)

    def reply(self, client: str, number, body: dict) -> None:
        body = dict(body, in_reply_to=number)
        self.say(client, body)
        if self.lie == "answers-twice":
            self.say(client, body)

    def hear(self, message: dict) -> None:
        src, body = message["src"], message["body"]
        kind = body["type"]
        if kind == "init":
            self.name, self.names = body["node_id"], body["node_ids"]
            self.reply(src, body["msg_id"], {"type": "init_ok"})
        elif kind == "topology":
            self.reply(src, body["msg_id"], {"type": "topology_ok"})
        elif kind == "hand-on":
            self.serve(body["question"], lambda answer: self.say(src, {"type": "handed-back", "to": body["to"], "number": body["number"], "answer": answer}))
        elif kind == "handed-back":
            self.reply(body["to"], body["number"], body["answer"])
        elif kind == "copy":
            self.copy = body["state"]
        else:
            self.question(src, body)

    def question(self, src: str, body: dict) -> None:
        self.asked += 1
        if self.lie == "silent":
            return
        if self.lie == "no-json" and self.asked % 5 == 0:
            print("debug: asked", body["type"], flush=True)
        number = body["msg_id"]
        if self.workload == "unique-ids":
            own = self.asked if self.lie == "same-numbers" else f"{self.name}-{self.asked}"
            return self.reply(src, number, {"type": "generate_ok", "id": own})
        if self.lie == "reads-locally" and self.only_reads(body):
            held = self.state
            self.state = self.state if self.name == self.names[0] else self.copy
            self.reply(src, number, self.do(body))
            self.state = held
        elif self.name == self.names[0]:
            self.serve(body, lambda answer: self.reply(src, number, answer))
        else:
            self.say(self.names[0], {"type": "hand-on", "question": body, "to": src, "number": number})

    def only_reads(self, body) -> bool:
        return body["type"] in ("read", "poll") or body["type"] == "txn" and all(m[0] == "r" for m in body["txn"])

    def serve(self, body: dict, answer) -> None:
        """At the first node: does it, and says so, as far as it does not lie."""
        self.asked += self.name != self.names[0] or 1
        waiting, self.pending = self.pending, []
        if self.lie == "torn" and body["type"] == "txn" and len(body["txn"]) > 1:
            half = len(body["txn"]) // 2
            first = self.do({"type": "txn", "txn": body["txn"][:half]})["txn"]
            rest = body["txn"][half:]
            self.pending.append(lambda: answer({"type": "txn_ok", "txn": first + self.do({"type": "txn", "txn": rest})["txn"]}))
        elif self.lie == "forgets" and not self.only_reads(body) and self.asked % 5 == 0:
            held = json.loads(json.dumps(self.state))
            answer(self.do(body))
            self.state = held
        elif self.lie == "refuses-and-does" and not self.only_reads(body) and self.asked % 5 == 0:
            self.do(body)
            answer({"type": "error", "code": 11, "text": "not done (and that is a lie)"})
        else:
            answer(self.do(body))
        for last in waiting:
            last()
        if self.asked % 7 == 0:
            for other in self.names[1:]:
                self.say(other, {"type": "copy", "state": self.state})

    def do(self, body: dict) -> dict:
        return getattr(self, "do_" + self.workload.replace("-", "_"))(body)

    def do_echo(self, body):
        altered = self.lie == "alters" and self.asked % 5 == 0
        return {"type": "echo_ok", "echo": "something else" if altered else body["echo"]}

    def do_broadcast(self, body):
        return self.grow(body, "message", "messages")

    def do_g_set(self, body):
        return self.grow(body, "element", "value")

    def grow(self, body, one, many):
        elements = self.state.setdefault("set", [])
        if body["type"] != "read":
            elements.append(body[one])
            return {"type": body["type"] + "_ok"}
        shown = list(elements)
        if self.lie == "twice":
            shown += shown[:1]
        if self.lie == "invents":
            shown.append(-1)
        return {"type": "read_ok", many: shown}

    def do_g_counter(self, body):
        if body["type"] == "add":
            delta = body["delta"] * (2 if self.lie == "counts-twice" and self.asked % 5 == 0 else 1)
            self.state["sum"] = self.state.get("sum", 0) + (max(delta, 0) if self.lie == "never-less" else delta)
            return {"type": "add_ok"}
        return {"type": "read_ok", "value": self.state.get("sum", 0)}

    do_pn_counter = do_g_counter

    def do_lin_kv(self, body):
        key = str(body["key"])
        if body["type"] == "write":
            self.state[key] = body["value"]
            return {"type": "write_ok"}
        if key not in self.state:
            return {"type": "error", "code": 20, "text": "no such key"}
        if body["type"] == "read":
            return {"type": "read_ok", "value": self.state[key]}
        if self.state[key] != body["from"] and self.lie != "cas-anyway":
            return {"type": "error", "code": 22, "text": "another value"}
        self.state[key] = body["to"]
        return {"type": "cas_ok"}

    def do_txn_list_append(self, body):
        done = []
        for f, key, value in body["txn"]:
            held = self.state.setdefault(str(key), [])
            if f == "append":
                held.append(value)
            else:
                value = sorted(held, reverse=True) if self.lie == "reorders" and self.asked % 2 else list(held)
            done.append([f, key, value])
        return {"type": "txn_ok", "txn": done}

    def do_txn_rw_register(self, body):
        done = []
        for f, key, value in body["txn"]:
            if f == "w":
                self.state[str(key)] = value
            else:
                value = self.state.get(str(key))
            done.append([f, key, value])
        return {"type": "txn_ok", "txn": done}

    def do_kafka(self, body):
        kind = body["type"]
        if kind == "send":
            log = self.state.setdefault(body["key"], [])
            again = self.lie == "offset-twice" and log and self.asked % 5 == 0
            offset = log[-1][0] if again else len(log)
            log.append([offset, body["msg"]])
            return {"type": "send_ok", "offset": offset}
        if kind == "poll":
            polled = {k: [p for p in self.state.get(k, []) if p[0] >= o][:10] for k, o in body["offsets"].items()}
            if self.lie == "skips" and self.asked % 3 == 0:
                polled = {k: pairs[:1] + pairs[2:] for k, pairs in polled.items()}
            if self.lie == "backwards":
                polled = {k: pairs[::-1] for k, pairs in polled.items()}
            return {"type": "poll_ok", "msgs": polled}
        if kind == "commit_offsets":
            for key, offset in body["offsets"].items():
                self.commits.setdefault(key, []).append(offset)
            return {"type": "commit_offsets_ok"}
        pick = (lambda offsets: min(offsets)) if self.lie == "old-commit" else (lambda offsets: max(offsets))
        return {"type": "list_committed_offsets_ok", "offsets": {k: pick(self.commits[k]) for k in body["keys"] if k in self.commits}}


if __name__ == "__main__":
    toy = Toy(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
    for line in sys.stdin:
        toy.hear(json.loads(line))
