"""Joins standard input and output to the agent in the same pod; runs as `python -u -c`, standard library only.

The agent outlives every relay: a broken `kubectl exec` costs a connection, not the data that the agent holds.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time


def main(port: int) -> None:
    """Wait until the agent listens, then copy both ways until either side ends."""
    with _connect(port) as connection, connection.makefile("rb") as answers:
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        for line in answers:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


def _connect(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)  # it's still importing Dask; whoever started this relay has a deadline


def _send(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for line in sys.stdin.buffer:
            connection.sendall(line)
        connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main(int(sys.argv[1]))
