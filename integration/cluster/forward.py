"""Makes a port of a Service reachable on this machine, also where the cluster has a network of its own.

A socket stays in the network that it was made in, whoever uses it. So the one that listens is made here, and handed as
its standard input to a process that is started in the cluster's network: this file as a script, with the standard
library alone, which joins each connection to what `kubectl port-forward` offers there.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.cluster.provider import Provider

_HERE = "127.0.0.1"
_PIECE = 1 << 16


def forward(provider: Provider, *, namespace: str, service: str, port: int) -> int:
    """Forward connections until interrupted, from the same port here, or from a free one where that is taken.

    Returns:
        The exit status of what forwards: not 0 where there is no such Service, or its pod has ended.

    Raises:
        ProviderError: the cluster is not up.
    """
    with _listener(port) as listener:
        url = f"http://localhost:{listener.getsockname()[1]}"
        with _as_standard_input(listener):
            return provider.run([sys.executable, "-I", str(Path(__file__)), namespace, service, str(port), url])


def _listener(port: int) -> socket.socket:
    with contextlib.suppress(OSError):
        return socket.create_server((_HERE, port))
    return socket.create_server((_HERE, 0))


@contextlib.contextmanager
def _as_standard_input(listener: socket.socket) -> Iterator[None]:
    before = os.dup(0)
    os.dup2(listener.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def main() -> None:
    """Serve the listening socket that is the standard input."""
    namespace, service, port, url = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kubectl = subprocess.Popen(
        ["kubectl", f"--namespace={namespace}", "port-forward", f"--address={_HERE}", f"service/{service}", f":{port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert kubectl.stdout
        if match := re.match(r"Forwarding from [\d.]+:(\d+)", kubectl.stdout.readline()):
            print(f"{url} leads to {service} in {namespace}, until Ctrl-C", file=sys.stderr, flush=True)
            threading.Thread(target=_serve, args=(int(match[1]),), daemon=True).start()
            for _ in kubectl.stdout:  # a line for each connection
                pass
        status = kubectl.wait()
    except KeyboardInterrupt:
        status = 0
    finally:
        kubectl.kill()
        kubectl.wait()
    sys.exit(status)


def _serve(port: int) -> None:
    listener = socket.socket(fileno=os.dup(0))
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection((_HERE, port))
        except OSError:  # kubectl is ending, and so are we
            near.close()
            continue
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and that nothing more comes; connections break as they like."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
