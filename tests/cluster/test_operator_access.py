"""How the operators that the tests run as processes reach schedulers, by where the tests run."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from integration import operator_process

if TYPE_CHECKING:
    import pytest


def test_directly_where_the_names_of_services_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, _: asked.append(host))
    assert operator_process.best_access() == "--scheduler-access=direct"
    assert asked == ["kubernetes.default.svc"]


def test_through_the_api_server_where_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert operator_process.best_access() == "--scheduler-access=proxy"
