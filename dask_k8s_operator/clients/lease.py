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

LEASE_SECONDS = 6
"""How long a leader that fell silent stays the leader, and so how long a crashed one leaves nobody at work."""

RENEW_SECONDS = 4
"""How long a leader that can't renew its lease goes on: it has stopped before another one starts."""

RETRY_SECONDS = 1


class LeadershipLost(Exception):
    """The Lease could not be renewed, so another operator may be the leader by now; this one must not act."""


async def lead(api: client.ApiClient, *, namespace: str, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait to become the leader, then work until the work ends.

    The Lease is given back at the end, also when this is cancelled, so that the next leader needn't wait for it to
    run out.

    Args:
        api: the connection to the API server.
        namespace: where the Lease is.
        name: of the Lease.
        work: what only the leader may do; cancelled when the leadership is lost.

    Raises:
        LeadershipLost: the lease could not be renewed in time.
    """
    lock = _Lock(name, namespace, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}", api)
    working: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def leading() -> None:
        logger.info("leading: %s holds the Lease %s/%s", lock.identity, namespace, name)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 (it ends the election, too, and is raised where that is awaited)
            working.set_exception(error)
        else:
            working.set_result(None)

    electing = asyncio.create_task(leaderelection.LeaderElection(_configuration(lock, leading)).run())
    logger.info("waiting for the Lease %s/%s", namespace, name)
    try:
        await asyncio.wait({electing, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        electing.result()
        raise LeadershipLost(f"the Lease {namespace}/{name} could not be renewed for {RENEW_SECONDS} s")
    finally:
        electing.cancel()
        await asyncio.wait({electing})
        await lock.release()


def _configuration(lock: _Lock, leading: Callable[[], Awaitable[None]]) -> Any:
    return electionconfig.Config(
        lock,
        lease_duration=LEASE_SECONDS,
        renew_deadline=RENEW_SECONDS,
        retry_period=RETRY_SECONDS,
        onstarted_leading=leading,
        onstopped_leading=None,
    )


class _Lock(leaselock.LeaseLock):  # type: ignore[misc]  # the library has no types
    """A lock that survives an API server that doesn't answer: the library's own knows only answers that say no."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            found: tuple[bool, Any] = await asyncio.wait_for(super().get(name, namespace), RETRY_SECONDS)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, client.ApiException(reason=repr(error))
        return found

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        # Not the library's own (37.0.2): it passes pretty=True, which its own validation refuses.
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._succeeds(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        return await self._succeeds(super().update(name, namespace, updated_record))

    async def release(self) -> None:
        """Let the next one lead at once, if this one still leads."""
        held, record = await self.get(self.name, self.namespace)
        if held and record.holder_identity == self.identity:
            self.lease_reference.spec.holder_identity = None
            await self._succeeds(
                self.api_instance.replace_namespaced_lease(self.name, self.namespace, self.lease_reference)
            )
            logger.info("gave the Lease %s/%s back", self.namespace, self.name)

    async def _succeeds(self, write: Awaitable[Any]) -> bool:
        try:
            return bool(await asyncio.wait_for(write, RETRY_SECONDS))
        except (aiohttp.ClientError, client.ApiException, TimeoutError, OSError) as error:
            logger.warning("the Lease could not be written: %r", error)
            return False
