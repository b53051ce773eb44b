"""A cable that can be cut: passes bytes on, and calls back after a given number of them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress


class CuttingProxy:
    """Listens on a port of its own and passes everything on to another port of this computer.

    Args:
        port: where to.
        after: bytes of one direction after which ``then`` is called, once.
        then: what happens then; afterwards both connections are closed.
        upwards: count what the client sends; otherwise what it receives.
        tls: makes the client's side encrypted.
    """

    def __init__(
        self,
        port: int,
        after: int,
        then: Callable[[], None],
        upwards: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.target, self.left, self.then, self.upwards = port, after, then, upwards
        self.cut = threading.Event()
        self.passed = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.tls is not None:
                    try:
                        client = self.tls.wrap_socket(client, server_side=True)
                    except OSError:
                        continue
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                for one, other, counted in ((client, server, self.upwards), (server, client, not self.upwards)):
                    threading.Thread(target=self._pass, args=(one, other, counted), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while block := one.recv(16384):
                if counted and not self.cut.is_set():
                    self.passed += len(block)
                    if self.passed > self.left:
                        self.cut.set()
                        self.then()
                        break
                other.sendall(block)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
