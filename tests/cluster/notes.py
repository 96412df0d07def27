"""A provider that only takes notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.provider import Images, ProviderError, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Notes:
    """A provider that does nothing; what a command in it does is up to the test."""

    name = "notes"

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.is_running = True
        self.error: ProviderError | None = None
        self.command: Callable[[Sequence[str]], int] = lambda _: 42

    def verdict(self) -> Verdict:
        return Verdict(usable=True, reason="always")

    def up(self) -> None:
        self.calls.append("up")
        if self.error:
            raise self.error

    def down(self) -> None:
        self.calls.append("down")

    def running(self) -> bool:
        return self.is_running

    def kubeconfig(self) -> Path:
        return Path("/the/kubeconfig")

    def images(self) -> Images:
        self.calls.append("images")
        return Images(operator="localhost/operator:1", dask="localhost/dask:1")

    def load(self, image: str) -> None:
        self.calls.append(("load", image))

    def run(self, command: Sequence[str]) -> int:
        self.calls.append(("run", *command))
        return self.command(command)
