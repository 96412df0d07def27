"""Leader election on a Lease, so that one of several operators acts."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.resourcelock import leaselock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15
"""How long a leader that fell silent stays the leader, and so how long one that was killed leaves nobody at work."""

RENEW_SECONDS = 10
"""How long a leader works on after it began to renew its Lease with success for the last time.

Its work may then take `LEASE_SECONDS - RENEW_SECONDS` to stop, and has stopped before another leader starts.
"""

RETRY_SECONDS = 2
"""How often the leader renews its Lease and others look whether it is free: how long a hand-over takes."""

ANSWER_SECONDS = 3
"""How long the API server may take for a request: short enough for a second try before the work has to stop."""


async def lead(api: client.ApiClient, *, namespace: str, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Work whenever this is the leader, until the work ends by itself.

    Where the Lease can't be renewed, the work is cancelled, and begins anew when this is the leader again. The Lease
    is given back at the end, also when this is cancelled, so that the next leader needn't wait for it to run out.

    Args:
        api: the connection to the API server.
        namespace: where the Lease is.
        name: of the Lease.
        work: what only the leader may do. Cancelled, it must end within `LEASE_SECONDS - RENEW_SECONDS`.
    """
    lock = _Lock(name, namespace, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}", api)
    logger.info("waiting for the Lease %s/%s", namespace, name)
    try:
        while not await _lead_once(lock, work):
            logger.warning(
                "stopped: the Lease %s/%s could not be renewed for %d s, so another one may lead; waiting for it again",
                namespace,
                name,
                RENEW_SECONDS,
            )
    finally:
        await lock.release()


async def _lead_once(lock: _Lock, work: Callable[[], Awaitable[None]]) -> bool:
    """Become the leader and work until that ends or the Lease isn't renewed in time; whether it ended by itself."""
    election = leaderelection.LeaderElection(
        electionconfig.Config(
            lock,
            lease_duration=LEASE_SECONDS,
            renew_deadline=RENEW_SECONDS,
            retry_period=RETRY_SECONDS,
            onstarted_leading=work,
            onstopped_leading=None,
        )
    )
    await election.acquire()
    logger.info("leading: %s holds the Lease %s/%s", lock.identity, lock.namespace, lock.name)
    # Not the library's own `run`, which goes on for up to its deadline and three requests more, and doesn't wait until
    # the work has stopped.
    renewing = asyncio.create_task(election.renew_loop())
    try:
        async with asyncio.timeout_at(lock.renewed + RENEW_SECONDS) as term:
            lock.term = term
            await work()
    except TimeoutError:
        if not term.expired():
            raise
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})
        lock.term = None
    return not term.expired()


class _Lock(leaselock.LeaseLock):  # type: ignore[misc]  # the library has no types
    """A lock that survives an API server that doesn't answer: the library's own knows only answers that say no.

    Attributes:
        renewed: when the last write that succeeded was sent, by the event loop's clock. The API server has it from
            later on, and others see it later still, so that they wait for longer than `LEASE_SECONDS` from then.
        term: what ends when the Lease isn't renewed in time; None while this doesn't lead.
    """

    renewed = 0.0
    term: asyncio.Timeout | None = None

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            found: tuple[bool, Any] = await asyncio.wait_for(super().get(name, namespace), ANSWER_SECONDS)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, client.ApiException(reason=repr(error))
        return found

    # Not the library's own (37.0.2): `create` passes pretty=True, which its own validation refuses, and `update` logs
    # a traceback when another one was quicker.

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._succeeds(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        self.lease_reference.spec = self.update_lease(updated_record, self.lease_reference.spec)
        return await self._succeeds(self.api_instance.replace_namespaced_lease(name, namespace, self.lease_reference))

    async def release(self) -> None:
        """Let the next one lead at once, if this one still leads."""
        held, record = await self.get(self.name, self.namespace)
        if held and record.holder_identity == self.identity:
            self.lease_reference.spec.holder_identity = None
            lease = self.api_instance.replace_namespaced_lease(self.name, self.namespace, self.lease_reference)
            if await self._succeeds(lease):
                logger.info("gave the Lease %s/%s back", self.namespace, self.name)

    async def _succeeds(self, write: Awaitable[Any]) -> bool:
        sent = asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(write, ANSWER_SECONDS)
        except (aiohttp.ClientError, client.ApiException, TimeoutError, OSError) as error:
            logger.warning("the Lease could not be written: %r", error)
            return False
        self.renewed = sent
        if self.term is not None and not self.term.expired():
            self.term.reschedule(sent + RENEW_SECONDS)
        return True
