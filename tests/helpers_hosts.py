"""A server on this machine that notes whether a program connects to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Host:
    """A server that closes each connection at once, and counts them."""

    def __init__(self, server: socket.socket) -> None:
        self.address = f"127.0.0.1:{server.getsockname()[1]}"
        self.connections = 0
        self._server = server

    def serve(self) -> None:
        """Accept connections until the server is closed."""
        while True:
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            connection.close()


@contextmanager
def listening_host() -> Iterator[Host]:
    """Run a server until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        host = Host(server)
        threading.Thread(target=host.serve, daemon=True).start()
        yield host
