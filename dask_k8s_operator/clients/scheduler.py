"""The one module that speaks to Dask schedulers, by their HTTP API.

Nothing is asked twice here: a retirement whose answer got lost may still be running, and two that overlap and
both fail leave the worker unable to take tasks. Callers read `workers` again before they decide anything.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from dask_k8s_operator.domain.autoscale import Demand
from dask_k8s_operator.domain.snapshot import Worker
from dask_k8s_operator.domain.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Collection

CONNECT_SECONDS = 5.0
"""How long a connection to a scheduler may take. Even a busy one's kernel accepts at once."""

LIST_SECONDS = 40.0
"""How long `get_workers` may take: 2 ms usually, but a task's graph can keep a scheduler busy for half a minute.

Only the Cluster's own scale-down waits for it. Where nobody listens, that shows within `CONNECT_SECONDS`.
"""

WORKLOAD_SECONDS = 5.0
"""How long a scheduler may take to say what there is to do. It is asked every few seconds, and nothing waits for it."""

RETIRE_SECONDS = 3600.0
"""How long `retire_workers` may take: it answers once all data has moved, with no limit of its own."""

_SAID_BY_A_PROXY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_ROUTES = {"api": "distributed.http.scheduler.api", "json": "distributed.http.scheduler.json"}
_EXCERPT = 200  # characters of an answer that an error message quotes


@dataclass(frozen=True)
class Response:
    """An answer of the scheduler's own, whatever its status."""

    status: int
    body: bytes


class TransportError(Exception):
    """No answer: no connection, a connection that broke, or none in time. The message says which."""


class Transport(Protocol):
    """One way to one scheduler's HTTP server."""

    async def request(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:  # noqa: ASYNC109 -- each way has its own kind of timeout
        """Send one request, once, and follow no redirects.

        Args:
            method: the HTTP method.
            path: from the root of the scheduler's HTTP server, with the leading slash and no trailing one.
            body: JSON, or None for no body.
            timeout: seconds until the whole answer must have arrived.

        Raises:
            TransportError: no answer of the scheduler's own. What an intermediary says itself belongs here,
                unless its status is 502, 503 or 504; above all, a 404 must be the scheduler's.
        """


class SchedulerError(Exception):
    """A scheduler did not do what it was asked. The message says what is wrong and what to do."""


class SchedulerUnreachable(SchedulerError):
    """No answer, or a proxy's word that there is none. What was asked for may be going on all the same."""


class SchedulerApiMissing(SchedulerError):
    """The scheduler answers, but its HTTP API is off."""


class SchedulerFailed(SchedulerError):
    """The scheduler answered with an error, or with something that can't be understood.

    Schedulers before 2025.9.0 may do so after a retirement that worked.
    """


class HttpTransport:
    """Straight to the scheduler's Service.

    Args:
        client: see `http_client`; shared by all schedulers of the process.
        base_url: of the scheduler's HTTP server, such as `http://name-scheduler.namespace.svc:8787`.
    """

    def __init__(self, client: httpx.AsyncClient, base_url: str) -> None:
        self._client = client
        self._base_url = base_url.rstrip("/")

    async def request(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:  # noqa: ASYNC109 -- see Transport
        """See `Transport`. A connection must stand within `CONNECT_SECONDS`.

        Raises:
            TransportError: no answer of the scheduler's own.
        """
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with asyncio.timeout(timeout):
                answer = await self._client.request(method, self._base_url + path, content=body, headers=headers)
        except TimeoutError as error:
            raise TransportError(f"no answer within {timeout:g} s") from error
        except httpx.ConnectTimeout as error:
            raise TransportError(f"no connection within {CONNECT_SECONDS:g} s") from error
        except httpx.HTTPError as error:
            raise TransportError(str(error) or type(error).__name__) from error
        return Response(answer.status_code, answer.content)


def http_client() -> httpx.AsyncClient:
    """The client that all `HttpTransport`s of the process share; the caller closes it.

    Proxy variables are ignored: schedulers are in the cluster. As many connections as there are requests,
    since a retirement holds one for as long as data moves, and none is kept for later: a request on a kept
    connection to a scheduler that has been replaced would be lost, and nothing is asked twice.
    """
    return httpx.AsyncClient(
        trust_env=False,
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )


class SchedulerClient:
    """What the operator asks of one scheduler.

    Its messages name no cluster: whoever shows them knows which one it was.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def workers(self, *, timeout: float = LIST_SECONDS) -> tuple[Worker, ...]:  # noqa: ASYNC109 -- the transport's
        """The workers that are registered now, in the order of the scheduler's list.

        A worker with a numeric name has an int on the wire and a string here.

        Args:
            timeout: seconds until the answer must have arrived.

        Raises:
            SchedulerUnreachable: no answer in time.
            SchedulerApiMissing: the HTTP API is off.
            SchedulerFailed: an error, or an answer that makes no sense.
        """
        answer = await self._ask("GET", "/api/v1/get_workers", timeout=timeout)
        try:
            return tuple(_worker(entry) for entry in answer["workers"])
        except (KeyError, TypeError) as error:
            raise _nonsense("get_workers", answer) from error

    async def workload(self) -> Workload:
        """What there is to do.

        `desired_workers` is what `/api/v1/adaptive_target` gives, and `tasks` counts those in any state
        (`tests/dask/test_workload.py` pins both). Nothing changes by asking, unlike by `/api/v1/check_idle`.

        Raises:
            SchedulerUnreachable: no answer within `WORKLOAD_SECONDS`.
            SchedulerApiMissing: this part of the HTTP API, which is on by default, is off.
            SchedulerFailed: an error, or an answer that makes no sense.
        """
        answer = await self._ask("GET", "/json/counts.json", timeout=WORKLOAD_SECONDS)
        try:
            threads = answer["cores"] / answer["workers"] if answer["workers"] else None
            return Workload(Demand(int(answer["desired_workers"]), threads=threads), tasks=int(answer["tasks"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense("counts.json", answer) from error

    async def retire(
        self,
        addresses: Collection[str],
        *,
        timeout: float = RETIRE_SECONDS,  # noqa: ASYNC109 -- the transport's, not asyncio's
    ) -> frozenset[str]:
        """Have the scheduler move the workers' data to others and let the workers go.

        Returns when all data has moved or moving was refused; running tasks are not waited for. Never to be
        called while another call for the same cluster is going on.

        Args:
            addresses: exact addresses, as `workers` gives them. Unknown ones are ignored by the scheduler.
            timeout: seconds until the answer must have arrived. The retirement goes on after that.

        Returns:
            The addresses that the answer lists. A missing one was refused (nobody can take its data, or it
            holds an actor) or unknown. A listed one has left, but if its process died meanwhile, its data may
            not have moved.

        Raises:
            ValueError: no addresses. A scheduler would choose workers by itself.
            SchedulerUnreachable: no answer in time; the retirement may be going on.
            SchedulerApiMissing: the HTTP API is off.
            SchedulerFailed: an error, or an answer that makes no sense.
        """
        if not addresses:
            raise ValueError("no addresses to retire")
        body = json.dumps({"workers": sorted(addresses)}).encode()
        answer = await self._ask("POST", "/api/v1/retire_workers", body, timeout=timeout)
        if not isinstance(answer, dict):
            raise _nonsense("retire_workers", answer)
        return frozenset(answer)

    async def _ask(self, method: str, path: str, body: bytes | None = None, *, timeout: float) -> Any:  # noqa: ASYNC109 -- the transport's
        call = path.rpartition("/")[2]
        try:
            response = await self._transport.request(method, path, body=body, timeout=timeout)
        except TransportError as error:
            raise _unreachable(call, str(error)) from error
        if response.status in _SAID_BY_A_PROXY:
            raise _unreachable(call, f"a proxy on the way answered {response.status}")
        if response.status == HTTPStatus.NOT_FOUND:
            raise SchedulerApiMissing(
                f"the scheduler's HTTP API is off: add {_ROUTES[path.split('/')[1]]} to the list in its "
                "environment variable DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES, or leave the variable out of "
                "its template"
            )
        if response.status != HTTPStatus.OK:
            raise SchedulerFailed(
                f"the scheduler answered {call} with status {response.status} ({_excerpt(response.body)}): "
                "its log says more"
            )
        try:
            return json.loads(response.body)
        except ValueError as error:
            raise _nonsense(call, response.body) from error


def _worker(entry: dict[str, Any]) -> Worker:
    address = entry["address"]
    if not isinstance(address, str):
        raise TypeError("an address is a string")
    return Worker(name=str(entry["name"]), address=address)


def _unreachable(call: str, reason: str) -> SchedulerUnreachable:
    return SchedulerUnreachable(
        f"the scheduler can't be reached for {call} ({reason}): check that its pod is running and that its "
        "Service and any NetworkPolicy let the operator through to the dashboard port"
    )


def _nonsense(call: str, answer: object) -> SchedulerFailed:
    return SchedulerFailed(
        f"the scheduler's answer to {call} can't be understood ({_excerpt(answer)}): check that its "
        "Service's dashboard port leads to a Dask scheduler"
    )


def _excerpt(answer: object) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else json.dumps(answer)
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"
