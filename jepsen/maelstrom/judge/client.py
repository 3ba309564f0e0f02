"""A client: questions with deadlines; each answer is checked against the protocol."""

import asyncio


class Refused(Exception):
    """An error body."""

    def __init__(self, code: int, text: str):
        super().__init__(f"{code} {text}")
        self.code, self.text = code, text


class Client:
    def __init__(self, name: str, network):
        self.name, self.network = name, network
        self.next_id = 0
        self.waiting, self.answered, self.asked_at = {}, set(), {}
        self.complaints = []
        network.clients[name] = self.hear

    def hear(self, message) -> None:
        body = message["body"]
        to = body.get("in_reply_to")
        if to not in self.asked_at:
            self.complaints.append(f"{message['src']} answers {to!r}, which {self.name} never asked: {body}")
        elif self.asked_at[to] != message["src"]:
            self.complaints.append(f"{message['src']} answers what was asked of {self.asked_at[to]}: {body}")
        elif to in self.answered:
            self.complaints.append(f"{message['src']} answers question {to} of {self.name} twice: {body}")
        else:
            self.answered.add(to)
            future = self.waiting.pop(to, None)
            if future is not None and not future.done():
                future.set_result(body)

    async def ask(self, node: str, body: dict, within: float) -> dict:
        """The answer's body. Raises `Refused` for an error body, `asyncio.TimeoutError` for none."""
        number, self.next_id = self.next_id, self.next_id + 1
        future = asyncio.get_running_loop().create_future()
        self.waiting[number], self.asked_at[number] = future, node
        message = {"id": number, "src": self.name, "dest": node, "body": dict(body, msg_id=number)}
        self.network.send(message)
        try:
            answer = await asyncio.wait_for(future, within)
        finally:
            self.waiting.pop(number, None)
        wanted = body["type"] + "_ok"
        if answer["type"] == "error":
            code = answer.get("code")
            if not isinstance(code, int) or isinstance(code, bool):
                self.complaints.append(f"{node} answers with an error without a numeric code: {answer}")
                code = 13
            raise Refused(code, str(answer.get("text", "")))
        if answer["type"] != wanted:
            self.complaints.append(f"{node} answers {body['type']} with {answer['type']}, not {wanted}")
            raise Refused(13, "an answer of the wrong type")
        return answer
