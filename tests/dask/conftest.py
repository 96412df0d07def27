"""Fixtures of the tests against real Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.clients.scheduler import http_client
from tests.dask.support import frozen_scheduler, local_dask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from tests.dask.support import FrozenScheduler, LocalDask


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The process-wide HTTP client."""
    async with http_client() as client:
        yield client


@pytest.fixture
async def local(http: httpx.AsyncClient) -> AsyncIterator[LocalDask]:
    """A scheduler with its HTTP API on, without workers."""
    async with local_dask(http) as dask:
        yield dask


@pytest.fixture(scope="package")
def frozen() -> Iterator[FrozenScheduler]:
    """A scheduler that doesn't answer."""
    with frozen_scheduler() as scheduler:
        yield scheduler
