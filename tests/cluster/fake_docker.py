"""As much of a Docker daemon, over HTTP on loopback, as the real client needs to start and use a container."""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

KUBECONFIG = "clusters: [{cluster: {server: 'https://127.0.0.1:6443'}}]\n"
PORT = 40123


@dataclass
class Container:
    """What was asked for, and what has become of it."""

    id: str
    name: str
    spec: dict[str, Any]
    status: str = "created"
    pid: int = 0

    def inspected(self) -> dict[str, Any]:
        """What `docker inspect` tells."""
        ports = {port: [{"HostIp": "127.0.0.1", "HostPort": str(PORT)}] for port in self.spec.get("ExposedPorts", {})}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Config": {"Labels": self.spec.get("Labels", {}), "Image": self.spec.get("Image"), "Tty": False},
            "State": {"Status": self.status, "Running": self.status == "running", "Pid": self.pid},
            "NetworkSettings": {"Ports": ports},
        }


@dataclass
class FakeDocker:
    """The daemon: a context manager; tests arrange and look at its fields.

    Attributes:
        images: what it has, by reference.
        registry: what it could pull.
        execute: decides the exit status and the output of a command in a container.
        requests: method, path and query of every request so far.
        files: the contents of files in its containers, by path.
        uploads: the members of every archive that was put into a container.
        builds: the query and the members of the context of every build.
        executed: the commands that ran in containers.
    """

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    registry: set[str] = field(default_factory=set)
    info: dict[str, Any] = field(default_factory=lambda: {"OSType": "linux", "CgroupVersion": "2"})
    execute: Callable[[list[str]], tuple[int, str]] = lambda _: (0, "")
    containers: dict[str, Container] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: list[dict[str, bytes]] = field(default_factory=list)
    builds: list[tuple[dict[str, str], set[str]]] = field(default_factory=list)
    executed: list[list[str]] = field(default_factory=list)
    pending: dict[str, list[str]] = field(default_factory=dict)
    server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"daemon": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.server
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        """What to set DOCKER_HOST to."""
        assert self.server
        return f"tcp://127.0.0.1:{self.server.server_port}"

    def asked(self, method: str, path: str) -> list[dict[str, str]]:
        """The queries of the requests whose path matches a pattern completely."""
        return [query for m, p, query in self.requests if m == method and re.fullmatch(path, p)]

    def find(self, name: str) -> Container | None:
        """A container by its name or id."""
        return next((one for one in self.containers.values() if name in {one.id, one.name}), None)

    def create(self, name: str, spec: dict[str, Any], *, status: str = "created", pid: int = 0) -> Container:
        """Put a container there."""
        made = Container(f"{len(self.containers) + 1:064x}", name, spec, status, pid)
        self.containers[made.id] = made
        return made


class _Handler(BaseHTTPRequestHandler):
    """Routes requests by method and path; a path that is not known is answered by 501, which fails the test."""

    daemon: FakeDocker

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # the base class looks for a method of the request's name
            return self._route
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def _route(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v[\d.]+", "", unquote(url.path))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.daemon.requests.append((self.command, path, query))
        for method, pattern, answer in _ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                answer(self, query, *match.groups())
                return
        self._send({"message": f"the fake knows no {self.command} {path}"}, HTTPStatus.NOT_IMPLEMENTED)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, value: Any, status: int = HTTPStatus.OK) -> None:
        self._send_bytes(json.dumps(value).encode(), "application/json", status)

    def _send_bytes(self, body: bytes, kind: str = "application/octet-stream", status: int = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _missing(self, what: str) -> None:
        self._send({"message": f"No such {what}"}, HTTPStatus.NOT_FOUND)

    def version(self, _: dict[str, str]) -> None:
        self._send({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "25.0"})

    def information(self, _: dict[str, str]) -> None:
        self._send({"ServerVersion": "25.0", **self.daemon.info})

    def inspect_image(self, _: dict[str, str], name: str) -> None:
        if name in self.daemon.images:
            self._send({"Id": f"sha256:{name}", "RepoTags": [name], **self.daemon.images[name]})
        else:
            self._missing(f"image: {name}")

    def distribution(self, _: dict[str, str], name: str) -> None:
        if name in self.daemon.registry:
            self._send({"Descriptor": {"digest": "sha256:0"}, "Platforms": []})
        else:
            self._missing(f"manifest: {name}")

    def pull(self, query: dict[str, str]) -> None:
        name = f"{query['fromImage']}:{query['tag']}"
        self.daemon.images[name] = {}
        self._send({"status": f"Downloaded {name}"})

    def list_images(self, query: dict[str, str]) -> None:
        wanted = json.loads(query.get("filters", "{}")).get("reference", [""])[0]
        names = [name for name in self.daemon.images if wanted in {name, name.rpartition(":")[0]}]
        self._send([{"Id": name, "RepoTags": [name]} for name in names])

    def save_image(self, _: dict[str, str], name: str) -> None:
        self._send_bytes(docker_archive(name))

    def remove_image(self, _: dict[str, str], name: str) -> None:
        self.daemon.images.pop(name.removeprefix("sha256:"))
        self._send([])

    def build(self, query: dict[str, str]) -> None:
        self.daemon.builds.append((query, set(_members(self._body()))))
        self.daemon.images[query["t"]] = {"Created": f"2026-01-01T00:00:{len(self.daemon.builds):02d}Z"}
        self.daemon.images.setdefault("0123456789ab", {})
        self._send({"stream": "Successfully built 0123456789ab\n"})

    def create_container(self, query: dict[str, str]) -> None:
        spec = json.loads(self._body())
        if self.daemon.find(query["name"]):
            self._send({"message": f"the name {query['name']} is in use"}, HTTPStatus.CONFLICT)
        else:
            self._send({"Id": self.daemon.create(query["name"], spec).id}, HTTPStatus.CREATED)

    def inspect_container(self, _: dict[str, str], name: str) -> None:
        if found := self.daemon.find(name):
            self._send(found.inspected())
        else:
            self._missing(f"container: {name}")

    def start_container(self, _: dict[str, str], name: str) -> None:
        self._body()
        found = self.daemon.find(name)
        assert found
        found.status = "running"
        self._send({})

    def remove_container(self, _: dict[str, str], name: str) -> None:
        found = self.daemon.find(name)
        assert found
        del self.daemon.containers[found.id]
        self._send({})

    def logs(self, _: dict[str, str], _name: str) -> None:
        self._send_bytes(_frame("the last line of the log\n"), "application/vnd.docker.raw-stream")

    def put_archive(self, _: dict[str, str], _name: str) -> None:
        self.daemon.uploads.append(_members(self._body()))
        self._send({})

    def get_archive(self, query: dict[str, str], _name: str) -> None:
        if query["path"] in self.daemon.files:
            name = query["path"].rpartition("/")[2]
            self._send_bytes(_archive(name, self.daemon.files[query["path"]]), "application/x-tar")
        else:
            self._missing(f"file: {query['path']}")

    def create_exec(self, _: dict[str, str], _name: str) -> None:
        identity = str(len(self.daemon.pending))
        self.daemon.pending[identity] = json.loads(self._body())["Cmd"]
        self._send({"Id": identity}, HTTPStatus.CREATED)

    def start_exec(self, _: dict[str, str], identity: str) -> None:
        self._body()
        command = self.daemon.pending[identity]
        self.daemon.executed.append(command)
        output = self.daemon.execute(command)[1]
        # The client reads the answer's body past the buffer that it read the head with: the head has to fill that.
        self.wfile.write(_head(io.DEFAULT_BUFFER_SIZE) + _frame(output))
        self.close_connection = True

    def inspect_exec(self, _: dict[str, str], identity: str) -> None:
        status = self.daemon.execute(self.daemon.pending[identity])[0]
        self._send({"ExitCode": status, "Running": False})


_ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("GET", "/version", _Handler.version),
    ("GET", "/info", _Handler.information),
    ("GET", "/images/json", _Handler.list_images),
    ("GET", "/images/(.+)/json", _Handler.inspect_image),
    ("GET", "/images/(.+)/get", _Handler.save_image),
    ("DELETE", "/images/(.+)", _Handler.remove_image),
    ("GET", "/distribution/(.+)/json", _Handler.distribution),
    ("POST", "/images/create", _Handler.pull),
    ("POST", "/build", _Handler.build),
    ("POST", "/containers/create", _Handler.create_container),
    ("GET", "/containers/([^/]+)/json", _Handler.inspect_container),
    ("POST", "/containers/([^/]+)/start", _Handler.start_container),
    ("DELETE", "/containers/([^/]+)", _Handler.remove_container),
    ("GET", "/containers/([^/]+)/logs", _Handler.logs),
    ("PUT", "/containers/([^/]+)/archive", _Handler.put_archive),
    ("GET", "/containers/([^/]+)/archive", _Handler.get_archive),
    ("POST", "/containers/([^/]+)/exec", _Handler.create_exec),
    ("POST", "/exec/([^/]+)/start", _Handler.start_exec),
    ("GET", "/exec/([^/]+)/json", _Handler.inspect_exec),
)


def docker_archive(name: str) -> bytes:
    """A docker archive of one image, as far as it is looked at."""
    data = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": []}]).encode()
    return _archive("manifest.json", data)


def _archive(name: str, data: bytes) -> bytes:
    """A tar archive of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = [(entry.name, tar.extractfile(entry)) for entry in tar.getmembers() if entry.isfile()]
        return {name: file.read() for name, file in files if file}


def _head(size: int) -> bytes:
    """The head of an answer, as long as wanted."""
    head, end = b"HTTP/1.0 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n", b"\r\n"
    longest = b"X-Padding: %s\r\n" % (b"x" * 8000)
    while len(head) + 2 * len(longest) < size:
        head += longest
    for rest in (2, 1):
        length = (size - len(head) - len(end)) // rest
        head += b"X-Padding: %s\r\n" % (b"x" * (length - len(b"X-Padding: \r\n")))
    return head + end


def _frame(text: str) -> bytes:
    """One frame of the stream that has a container's two outputs; see the Docker API's ContainerAttach."""
    data = text.encode()
    return struct.pack(">BxxxL", 1, len(data)) + data if data else b""
