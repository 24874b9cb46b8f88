"""A chat-completions server in a process of its own: deterministic answers, and faults on demand.

Rules (JSON on the command line): key: the bearer token wanted; models: those that are known; refuse: fields that are
answered with status 400; context: most characters of a prompt; faults: what the first requests get instead of an
answer, {status, headers, body, delay}; usage: false leaves the tokens out; needs: words without which in the system
turn every answer is "green"; proposals: the instructions it writes when asked to. Every request is a line of the log.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COLOURS = {"apple": "red", "banana": "yellow", "grass": "green", "sky": "blue"}


def answer(messages: list[dict[str, str]], rules: dict[str, Any]) -> str:
    """The colour of the thing in the last turn; instructions when asked to write some; else an echo."""
    text = messages[-1]["content"]
    if "new instructions" in text:
        return json.dumps({"instructions": rules.get("proposals", [])})
    thing = next((name for name in COLOURS if name in text), None)
    if thing and rules.get("needs", "") not in messages[0]["content"]:
        return "green"
    return COLOURS[thing] if thing else json.dumps({"echo": text})


class Handler(BaseHTTPRequestHandler):
    rules: dict[str, Any]
    log: Path
    lock = threading.Lock()
    asked = 0
    busy = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Handler.lock:
            number = Handler.asked
            Handler.asked += 1
            Handler.busy += 1
            line = {"path": self.path, "body": body, "key": self.headers.get("Authorization"), "busy": Handler.busy}
            with self.log.open("a") as file:
                file.write(json.dumps(line) + "\n")
        try:
            self._reply(number, body)
        except BrokenPipeError:
            pass
        finally:
            with Handler.lock:
                Handler.busy -= 1

    def _reply(self, number: int, body: dict[str, Any]) -> None:
        rules, faults = self.rules, self.rules.get("faults", [])
        time.sleep(rules.get("delay", 0.0))
        if number < len(faults) and faults[number]:
            fault = faults[number]
            time.sleep(fault.get("delay", 0.0))
            if "status" in fault:
                return self._send(fault["status"], fault.get("body", "oops"), fault.get("headers"))
        if "key" in rules and self.headers.get("Authorization") != f"Bearer {rules['key']}":
            return self._error(
                401, f"Incorrect API key provided: {self.headers.get('Authorization')}", "invalid_api_key"
            )
        if body["model"] not in rules.get("models", [body["model"]]):
            return self._error(404, f"The model {body['model']} does not exist", "model_not_found")
        for field in rules.get("refuse", []):
            if field in body:
                return self._error(400, f"Unsupported parameter: {field}", "unsupported_parameter", field)
        size = sum(len(turn["content"]) for turn in body["messages"])
        if size > rules.get("context", size):
            return self._error(400, "This model's maximum context length is 99 tokens", "context_length_exceeded")
        text = answer(body["messages"], rules)
        reply: dict[str, Any] = {
            "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        }  # fmt: skip
        if rules.get("usage", True):
            tokens = {
                "prompt_tokens": size // 4,
                "completion_tokens": len(text),
                "total_tokens": size // 4 + len(text),
            }
            reply["usage"] = tokens
        return self._send(200, json.dumps(reply))

    def _error(self, status: int, message: str, code: str, param: str | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": code, "param": param}
        self._send(status, json.dumps({"error": error}))

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class Server:
    """A running server: its address and what it was asked."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self._log = url, log

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@contextmanager
def serving(folder: Path, **rules: Any) -> Iterator[Server]:
    """A server process that ends with the block."""
    log = folder / f"requests-{time.monotonic_ns()}.jsonl"
    log.touch()
    command = [sys.executable, __file__, json.dumps(rules), str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", log)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    Handler.rules, Handler.log = json.loads(sys.argv[1]), Path(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
