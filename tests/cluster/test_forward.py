"""A port of a Service is reached from here through a process elsewhere; kubectl is a stand-in that listens itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from integration.cluster import forward
from tests.cluster.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a socket as standard input is for POSIX systems")

# Echoes one connection after the other, as many as it is told, and ends at the next: those before have been passed on.
_KUBECTL = """#!{python} -I
import socket, sys
if {connections} == 0:
    sys.exit("there is no such Service")
assert sys.argv[1:] == [
    "--namespace=team", "port-forward", "--address=127.0.0.1", "service/dask-scheduler", ":8787"
], sys.argv
listener = socket.create_server(("127.0.0.1", 0))
print(f"Forwarding from 127.0.0.1:{{listener.getsockname()[1]}} -> 8787", flush=True)
for _ in range({connections}):
    connection, _ = listener.accept()
    print("Handling connection for 8787", flush=True)
    while data := connection.recv(1000):
        connection.sendall(data.upper())
    connection.close()
listener.accept()
sys.exit(9)
"""
SECONDS = 20.0


class Here(Notes):
    """A provider that runs commands in the background, so that the test can use what they offer."""

    def __init__(self) -> None:
        super().__init__()
        self.command = self.start

    def start(self, command: Sequence[str]) -> int:
        self.url = command[-1]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
        return 0


def _put_kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, *, connections: int) -> None:
    script = folder / "kubectl"
    script.write_text(_KUBECTL.format(python=sys.executable, connections=connections))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def _forwarded(port: int) -> Here:
    provider = Here()
    forward.forward(provider, namespace="team", service="dask-scheduler", port=port)
    return provider


def _ask(url: str, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=SECONDS) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1000), b""))


def test_connections_are_joined_until_kubectl_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put_kubectl(tmp_path, monkeypatch, connections=2)
    before = os.fstat(0)
    provider = _forwarded(8787)
    assert os.fstat(0).st_ino == before.st_ino, "this process has its standard input back"
    assert provider.process.stderr
    assert f"{provider.url} leads to dask-scheduler in team" in provider.process.stderr.readline()
    assert _ask(provider.url, b"one") == b"ONE"
    assert _ask(provider.url, b"x" * 1_000_000) == b"X" * 1_000_000
    _ask(provider.url, b"")
    assert provider.process.wait(SECONDS) == 9


def test_the_port_is_the_services_where_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put_kubectl(tmp_path, monkeypatch, connections=0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = _forwarded(port)
    same = _forwarded(port)
    assert other.url != f"http://localhost:{port}"
    assert same.url == f"http://localhost:{port}"
    for provider in (other, same):
        assert provider.process.wait(SECONDS) == 1
        assert provider.process.stderr
        assert "no such Service" in provider.process.stderr.read()


def test_kubectl_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put_kubectl(tmp_path, monkeypatch, connections=2)
    provider = _forwarded(8787)
    assert provider.process.stderr
    provider.process.stderr.readline()
    provider.process.terminate()
    assert provider.process.wait(SECONDS) == 128 + 15
    with pytest.raises(OSError, match="refused"):
        _ask(provider.url, b"late")
