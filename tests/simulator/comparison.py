"""Every load under every rule, and what that comes to."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tests.simulator.figures import Figures, best_possible, run
from tests.simulator.rules import Adaptive, DaskKubernetes, Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.simulator.figures import Best, Outcome
    from tests.simulator.loads import Load
    from tests.simulator.simulation import Rule

RULES: tuple[type[Rule], ...] = (Operator, DaskKubernetes, Adaptive)

PEERS = (DaskKubernetes.name, Adaptive.name)
"""Those that the operator's is compared with."""


@dataclass(frozen=True)
class Compared:
    """One load.

    Attributes:
        load: what was computed.
        best: what an oracle makes of it.
        outcomes: by the rule's name.
    """

    load: Load
    best: Best
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class Summary:
    """All loads of a kind, or all kinds.

    Attributes:
        name: of the kind.
        figures: by the rule's name; the mean.
    """

    name: str
    figures: dict[str, Figures]


def compare(loads: Iterable[Load], *, progress: Callable[[str], None] = lambda _: None) -> list[Compared]:
    """Put loads under each of the rules.

    Args:
        loads: which.
        progress: told the name of each load before it is begun.
    """
    compared = []
    for load in loads:
        progress(load.name)
        best = best_possible(load)
        compared.append(Compared(load, best, {make.name: run(load, make(), best) for make in RULES}))
    return compared


def summarize(compared: Iterable[Compared]) -> list[Summary]:
    """The mean of each kind of load."""
    kinds: dict[str, list[Compared]] = {}
    for one in compared:
        kinds.setdefault(one.load.name, []).append(one)
    return [
        Summary(
            name,
            {rule: mean(one.outcomes[rule].figures for one in every) for rule in every[0].outcomes},
        )
        for name, every in kinds.items()
    ]


def overall(summaries: list[Summary]) -> Summary:
    """The mean of all kinds, each of which counts as much as any other."""
    return Summary(
        "mean of all",
        {rule: mean(kind.figures[rule] for kind in summaries) for rule in summaries[0].figures},
    )


def is_ahead(summary: Summary, peer: str) -> bool:
    """Whether the operator's rule wastes less than another, and people wait no longer."""
    ours, theirs = summary.figures[Operator.name], summary.figures[peer]
    return ours.wasted < theirs.wasted and ours.delay <= theirs.delay


def mean(figures: Iterable[Figures]) -> Figures:
    """Each figure's mean."""
    every = list(figures)
    return Figures(
        wasted=fmean(one.wasted for one in every),
        delay=fmean(one.delay for one in every),
        flaps=fmean(one.flaps for one in every),
        rerun=fmean(one.rerun for one in every),
    )
