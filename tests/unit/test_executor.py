"""What the only writer makes of the API server's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from dask_k8s_operator.clients.kubernetes import AlreadyExists, Conflict
from dask_k8s_operator.controller.executor import Executor
from dask_k8s_operator.controller.recorder import Recorder
from dask_k8s_operator.controller.retirecalls import RetireCallRegister
from dask_k8s_operator.domain.actions import Create
from tests.unit.builders import cluster

if TYPE_CHECKING:
    from dask_k8s_operator.clients.access import Scheduler
    from dask_k8s_operator.clients.kubernetes import KubernetesClient

CREATE = Create({"kind": "Pod", "metadata": {"name": "a"}}, "because")


class Answers:
    """An API server that gives one error to everything."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def create(self, _: object) -> None:
        raise self._error


def executor(error: Exception) -> Executor:
    """One that gets this error for all that it asks for."""

    def no_scheduler(_: Any) -> Scheduler:
        raise AssertionError("nobody is to be retired")

    kubernetes = cast("KubernetesClient", Answers(error))
    return Executor(kubernetes, no_scheduler, RetireCallRegister(lambda _: None), Recorder(kubernetes))


async def test_what_exists_already_needs_no_second_try() -> None:
    """Its name follows from what was seen, so an earlier try made it."""
    assert await executor(AlreadyExists("exists", 409)).execute(cluster(), (CREATE,)) == []


async def test_any_other_conflict_is_one() -> None:
    """As that of a quota which somebody else uses at the same moment: nothing was made."""
    with pytest.raises(Conflict, match="resourcequotas"):
        await executor(Conflict("can't be fulfilled on resourcequotas", 409)).execute(cluster(), (CREATE,))
