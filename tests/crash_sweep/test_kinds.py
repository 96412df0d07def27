"""A request's kind says what it does, and names no object."""

from __future__ import annotations

import pytest
from distributed.protocol import dumps

from integration.crash_sweep.kinds import (
    asks_scheduler,
    changes_something,
    kind_of,
    kind_of_message,
    reads,
    resource_of,
)

PODS = "/api/v1/namespaces/a/pods"
CLUSTERS = "/apis/dask.charmtx.com/v1alpha1/namespaces/a/clusters"
SCHEDULER = "/api/v1/namespaces/a/services/http:dask-scheduler:8787/proxy/api/v1"


@pytest.mark.parametrize(
    ("method", "path", "query", "kind"),
    [
        ("GET", "/version", {}, "GET /version"),
        ("GET", "/apis", {}, "GET kinds of resources"),
        ("GET", "/apis/dask.charmtx.com/v1alpha1", {}, "GET kinds of resources"),
        ("GET", PODS, {"labelSelector": "x"}, "LIST pods"),
        ("GET", "/api/v1/pods", {}, "LIST pods"),
        ("GET", PODS, {"watch": "true"}, "WATCH pods"),
        ("DELETE", f"{PODS}/dask-worker-1", {}, "DELETE pods"),
        ("POST", PODS, {"fieldValidation": "Strict"}, "POST pods"),
        ("POST", PODS, {"dryRun": "All"}, "POST pods (dry run)"),
        ("GET", f"{CLUSTERS}/dask", {}, "GET clusters"),
        ("PATCH", f"{CLUSTERS}/dask/status", {}, "PATCH clusters/status"),
        ("GET", "/api/v1/namespaces/a/services/dask-scheduler", {}, "GET services"),
        ("GET", f"{SCHEDULER}/get_workers", {}, "GET get_workers"),
        ("POST", f"{SCHEDULER}/retire_workers", {}, "POST retire_workers"),
    ],
)
def test_the_kind(method: str, path: str, query: dict[str, str], kind: str) -> None:
    assert kind_of(method, path, query) == kind


def test_the_kind_of_what_dask_sends() -> None:
    handshake, message = {"compression": None, "python": (3, 11, 7)}, {"op": "retire_workers", "reply": True}
    assert kind_of_message(b"".join(dumps(handshake))) is None
    assert kind_of_message(b"".join(dumps(message))) == "RPC retire_workers"


def test_the_resource() -> None:
    assert resource_of("PATCH clusters/status") == "clusters"
    assert resource_of("LIST pods") == "pods"
    assert resource_of("POST pods (dry run)") == "pods"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("GET clusters", {"reads"}),
        ("LIST pods", {"reads"}),
        ("WATCH pods", set()),
        ("PATCH clusters/status", {"changes"}),
        ("DELETE pods", {"changes"}),
        ("POST pods", {"changes"}),
        ("POST pods (dry run)", set()),
        ("POST events", set()),
        ("PATCH events", set()),
        ("GET get_workers", {"asks"}),
        ("POST retire_workers", {"asks", "changes"}),
        ("RPC identity", {"asks"}),
        ("RPC workers_to_close", {"asks"}),
        ("RPC retire_workers", {"asks", "changes"}),
    ],
)
def test_what_it_does(kind: str, what: set[str]) -> None:
    does = {"reads": reads(kind), "changes": changes_something(kind), "asks": asks_scheduler(kind)}
    assert {name for name, is_so in does.items() if is_so} == what
