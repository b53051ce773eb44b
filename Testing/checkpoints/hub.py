"""A small HTTP server that stands in for the hubs, and does what hubs and networks do on bad days."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What the server offers and what it was asked.

    ``script`` holds, for the next requests, what goes wrong: a status, ``"drop"`` (the line breaks half-way),
    ``"page"`` (a web page), ``"redirect"`` (to the same file elsewhere), ``"shifted"`` (another range than asked for).
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag = '"first"'
        self.script: list[object] = []
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The server at ``hub.url`` while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            hub.requests.append((self.path, wanted))
            event = hub.script.pop(0) if hub.script else None
            if isinstance(event, int):
                return self._answer(event, b"", hub.headers)
            if event == "redirect":
                return self._answer(302, b"", {"Location": f"{hub.url}/elsewhere"})
            if event == "page":
                return self._answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
            start = 0
            if wanted and self.headers.get("If-Range", hub.etag) == hub.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(hub.content):
                    return self._answer(416, b"", {})
            first = start + 1 if event == "shifted" else start
            headers = {"ETag": hub.etag, "Content-Type": "application/octet-stream"}
            if start:
                headers["Content-Range"] = f"bytes {first}-{len(hub.content) - 1}/{len(hub.content)}"
            return self._answer(206 if start else 200, hub.content[first:], headers, half=event == "drop")

        def _answer(self, status: int, body: bytes, headers: dict[str, str], half: bool = False) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if half else body)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
