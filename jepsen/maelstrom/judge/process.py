"""One node: a child process, one JSON object a line in either direction."""

import asyncio
import json
import signal

LINE_MAX = 64 * 1024 * 1024
# A node that does not read is not waited for: what exceeds this is lost.
UNREAD_MAX = 256 * 1024 * 1024


class NodeProcess:
    def __init__(self, name, command, network, log_path):
        self.name, self.command, self.network, self.log_path = name, command, network, log_path
        self.child, self.reader, self.log = None, None, None
        self.expected_to_end = False
        self.complaints = []

    async def start(self):
        self.expected_to_end = False
        self.log = open(self.log_path, "ab")
        self.child = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.log,
            limit=LINE_MAX,
        )
        self.network.nodes[self.name] = self.deliver
        self.reader = asyncio.create_task(self.read(self.child))

    def deliver(self, message) -> None:
        stdin = self.child.stdin
        if self.child.returncode is None and not stdin.is_closing():
            if stdin.transport.get_write_buffer_size() < UNREAD_MAX:
                stdin.write(json.dumps(message).encode() + b"\n")

    async def read(self, child) -> None:
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError:
                self.complaints.append(f"{self.name} wrote a line of more than {LINE_MAX} bytes")
                return
            if not line:
                break
            message = self.parse(line)
            if message is not None:
                self.network.send(message)
        code = await child.wait()
        if not self.expected_to_end:
            self.complaints.append(f"{self.name} ended by itself with status {code}; see {self.log_path}")

    def parse(self, line):
        shown = line[:200]
        try:
            message = json.loads(line)
        except ValueError as e:
            self.complaints.append(f"{self.name} wrote what is not JSON ({e}): {shown!r}")
            return None
        body = message.get("body") if isinstance(message, dict) else None
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            self.complaints.append(f"{self.name} wrote no message with a body and a type: {shown!r}")
        elif message.get("src") != self.name:
            self.complaints.append(f"{self.name} speaks in the name of {message.get('src')!r}")
        elif not isinstance(message.get("dest"), str):
            self.complaints.append(f"{self.name} wrote a message to nobody: {shown!r}")
        else:
            return message
        return None

    def signal(self, number) -> None:
        if self.child is not None and self.child.returncode is None:
            self.child.send_signal(number)

    async def kill(self) -> None:
        self.expected_to_end = True
        self.signal(signal.SIGKILL)
        # A nemesis that is called off must not take the reader along.
        await asyncio.shield(self.reader)
        self.log.close()

    async def stop(self, within: float) -> None:
        """Ends its input; a node that does not end within the time has broken no promise, and is killed."""
        if self.child is None:
            return
        self.expected_to_end = True
        self.signal(signal.SIGCONT)
        if self.child.stdin and not self.child.stdin.is_closing():
            self.child.stdin.close()
        try:
            await asyncio.wait_for(self.child.wait(), within)
        except asyncio.TimeoutError:
            self.signal(signal.SIGKILL)
            await self.child.wait()
        await self.reader
        self.log.close()
