"""Where an operator looks for a scheduler's Service and finds the proxy: an address of the loopback device."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

RPC_PORT, HTTP_PORT = 8786, 8787

_HOSTS = Path("/etc/hosts")


@dataclass(frozen=True)
class SchedulerPorts:
    """The ports of a scheduler at an address of the loopback device.

    Attributes:
        service: the host name of the scheduler's Service.
        address: what an operator is to take for its address.
    """

    service: str
    address: str

    @classmethod
    def at_random(cls, cluster: str, namespace: str) -> Self:
        """At an address that nobody else uses, most likely: the proxy notices if somebody does."""
        address = ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])
        return cls(f"{cluster}-scheduler.{namespace}.svc", address)

    def for_service(self, command: Sequence[str], hosts: Path) -> list[str]:
        """The command that runs a command for which the Service has this address. Needs root.

        It replaces itself by the command, which has a mount namespace of its own with another /etc/hosts in it.

        Args:
            command: what to run.
            hosts: the file that is to be its /etc/hosts; written here.
        """
        hosts.write_text(f"{_HOSTS.read_text()}\n{self.address} {self.service}\n")
        script = f'mount --bind "$0" {_HOSTS} && exec "$@"'
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, str(hosts), *command]
