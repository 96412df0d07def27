"""What the operator asks for, by kind: method and resource, without names. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RPC = "RPC "
"""How the kinds of requests to a scheduler's RPC port begin."""

_PREFIX = re.compile(r"/api/v1|/apis/[^/]+/[^/]+")
_SCHEDULER = "/api/v1/"
_DISCOVERY = "kinds of resources"  # there are many such requests at a start, all alike
_DRY_RUN = " (dry run)"
_OPERATION = re.compile(rb"\xa2op[\xa1-\xbf]([a-z_]+)")  # MessagePack: the short string "op" and another short string


@dataclass(frozen=True)
class Request:
    """The so-and-so-manieth request of its kind within a run, counted from 1."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} #{self.number}"


def kind_of(method: str, path: str, query: Mapping[str, str]) -> str:
    """The kind of a request to the API server, such as `PATCH clusters/status`, `LIST pods`, `POST pods (dry run)`.

    What the API server passes on to a scheduler has the kind that it has there, such as `POST retire_workers`.
    """
    service, is_proxied, behind = path.partition("/proxy/")
    if is_proxied and "/services/" in service:
        return kind_at_scheduler(method, f"/{behind}")
    prefix = _PREFIX.match(path)
    words = path[prefix.end() :].split("/")[1:] if prefix else []
    if words[:1] == ["namespaces"] and len(words) > 2:
        words = words[2:]
    if not words:
        return f"{method} {_DISCOVERY if path.startswith('/api') else path}"
    resource, *rest = words
    kind = "/".join([resource, *rest[1:]])  # without the object's name
    if method == "GET" and not rest:
        return f"{'WATCH' if query.get('watch') in {'true', '1'} else 'LIST'} {kind}"
    return f"{method} {kind}{_DRY_RUN if 'dryRun' in query else ''}"


def kind_at_scheduler(method: str, path: str) -> str:
    """The kind of a request to a scheduler's HTTP server, such as `POST retire_workers`."""
    return f"{method} {path.removeprefix(_SCHEDULER)}"


def kind_of_message(sent: bytes) -> str | None:
    """The kind of what is sent to a scheduler's RPC port; None while nothing is asked for, as in the handshake."""
    found = _OPERATION.search(sent)
    return RPC + found[1].decode() if found else None


def resource_of(kind: str) -> str:
    """What a kind of request is about: `clusters` of `PATCH clusters/status`."""
    return kind.split(" ")[1].partition("/")[0]


def asks_scheduler(kind: str) -> bool:
    """Whether it is a scheduler that answers."""
    return kind.startswith(RPC) or kind.endswith("_workers")


def reads(kind: str) -> bool:
    """Whether a request of this kind is a read that the API server answers at once, and not by a stream of events."""
    return kind.startswith(("GET ", "LIST ")) and not asks_scheduler(kind)


def changes_something(kind: str) -> bool:
    """Whether a request of this kind changes a Cluster, what belongs to it, or its workers.

    What was read before it is of the past then. Nothing reads Events.
    """
    if kind.startswith(RPC):
        return resource_of(kind) == "retire_workers"
    writes = not kind.startswith(("GET ", "LIST ", "WATCH ")) and not kind.endswith(_DRY_RUN)
    return writes and resource_of(kind) != "events"
