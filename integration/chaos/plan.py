"""What is done to the cluster, in what order and after how long: all of it follows from a seed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST_WORKERS = 8
LONGEST_WAIT = 14.0
"""Seconds between two actions."""

LONGEST_PAUSE = 20.0
"""Seconds; far below the 5 minutes after which a scheduler takes a worker for dead (`worker-ttl`)."""

OUTAGE = 10.0
"""Seconds without an API server."""


@dataclass(frozen=True)
class Victims:
    """Some of those that are there at the time: so many, from this one on in the order of their names.

    Attributes:
        first: which one is the first; counted round where there are fewer.
        count: how many; None for all.
    """

    first: int
    count: int | None

    def among(self, names: Sequence[str]) -> list[str]:
        """Choose from the names that are there."""
        ordered = sorted(names)
        if not ordered:
            return []
        start = self.first % len(ordered)
        return (ordered[start:] + ordered[:start])[: self.count]

    def __str__(self) -> str:
        return "all" if self.count is None else f"{self.count} from no. {self.first}"


@dataclass(frozen=True)
class Scale:
    """`kubectl scale`."""

    replicas: int


@dataclass(frozen=True)
class Delete:
    """`kubectl delete pod` for worker pods."""

    victims: Victims


@dataclass(frozen=True)
class Evict:
    """Evictions of worker pods, all at once."""

    victims: Victims


@dataclass(frozen=True)
class EvictInTurn:
    """Evictions of all worker pods, each once the one before is gone: a drain while there are other nodes."""


@dataclass(frozen=True)
class Drain:
    """`kubectl drain` of the only node, as far as it has worker pods; the seconds until `kubectl uncordon`."""

    seconds: float


@dataclass(frozen=True)
class EndOperators:
    """SIGKILL for the processes of operators, or `kubectl delete pod`."""

    victims: Victims
    how: Literal["SIGKILL", "delete"]


@dataclass(frozen=True)
class Pause:
    """SIGSTOP for a worker's processes, and SIGCONT after some seconds, while other things may go on."""

    victims: Victims
    seconds: float


@dataclass(frozen=True)
class StopApiServer:
    """No API server for some seconds; it is killed as in a crash."""

    seconds: float


@dataclass(frozen=True)
class ChangeTemplate:
    """An annotation in the workers' template gets another value."""

    value: int


Fault = Scale | Delete | Evict | EvictInTurn | Drain | EndOperators | Pause | StopApiServer | ChangeTemplate


@dataclass(frozen=True)
class Action:
    """One thing that is done.

    Attributes:
        number: counted from 1.
        wait: seconds of quiet before it.
        fault: what is done.
    """

    number: int
    wait: float
    fault: Fault


def actions(seed: int) -> Iterator[Action]:
    """The actions of a seed, without end.

    They come as from a pack of cards that is shuffled anew when it is used up, so that each kind comes soon.
    """
    random = Random(seed)  # noqa: S311 (it is to be repeatable, not secret)
    number = 0
    while True:
        pack = list(_PACK)
        random.shuffle(pack)
        for draw in pack:
            number += 1
            yield Action(number, wait=round(random.uniform(1, LONGEST_WAIT), 1), fault=draw(random))


def _pick(random: Random, count: int | None) -> Victims:
    return Victims(first=random.randrange(MOST_WORKERS), count=count)


def _some(random: Random) -> Victims:
    return _pick(random, random.randint(2, MOST_WORKERS // 2))


def _pause(random: Random) -> Pause:
    return Pause(_pick(random, 1), seconds=round(random.uniform(2, LONGEST_PAUSE), 1))


_PACK: tuple[Callable[[Random], Fault], ...] = (
    *(lambda random: Scale(random.randint(1, MOST_WORKERS)),) * 4,
    lambda random: Delete(_pick(random, 1)),
    lambda random: Delete(_some(random)),
    lambda random: Delete(_pick(random, None)),
    lambda random: Evict(_pick(random, 1)),
    lambda random: Evict(_some(random)),
    lambda _: EvictInTurn(),
    lambda random: Drain(seconds=round(random.uniform(3, 15), 1)),
    lambda random: EndOperators(_pick(random, 1), how="SIGKILL"),
    lambda random: EndOperators(_pick(random, None), how="SIGKILL"),
    lambda random: EndOperators(_pick(random, 1), how="delete"),
    *(_pause,) * 2,
    lambda _: StopApiServer(OUTAGE),
    lambda random: ChangeTemplate(random.randrange(1_000_000)),
)
