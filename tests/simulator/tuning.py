"""How the numbers of the rule were chosen: `python -m tests.simulator.tuning`.

On loads of the same kinds as those of the comparison, but others. By the means over all kinds, the rule is to waste
less than either of the other rules, and people are to wait less, each by as large a part as can be: of these four
parts, the smallest counts. What is ahead by little on these loads may be behind on others.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import patch

import click

from dask_k8s_operator.domain import autoscale
from tests.simulator.comparison import PEERS, Compared, overall, summarize
from tests.simulator.figures import best_possible, run
from tests.simulator.loads import made_up
from tests.simulator.rules import Adaptive, DaskKubernetes, Operator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulator.comparison import Summary
    from tests.simulator.figures import Best, Figures, Outcome
    from tests.simulator.loads import Load

SEEDS = range(11, 15)
"""None of those that any comparison is drawn from."""

PATIENCE = (0.25, 0.5, 0.75)
HOLD = (0.25, 0.5, 0.75, 1.0)
SHORTEST = (3.0, 5.0, 10.0)
LONGEST = (90.0, 150.0, 300.0)
LOOK = (1.0, 5.0)


@dataclass(frozen=True)
class Numbers:
    """Those of the rule.

    Attributes:
        patience: `PATIENCE`.
        hold: `HOLD`.
        shortest: `SHORTEST_HOLD` in seconds.
        longest: `LONGEST_HOLD` in seconds.
        look: `LOOK_SECONDS`.
    """

    patience: float
    hold: float
    shortest: float = SHORTEST[0]
    longest: float = LONGEST[0]
    look: float = LOOK[0]


@click.command()
def main() -> None:
    """Try the two numbers that matter most together, then the others one by one, and print what comes of each."""
    loads = made_up(SEEDS)
    with ProcessPoolExecutor() as processes:
        best = list(processes.map(best_possible, loads))
        peers = {
            make.name: list(processes.map(run, loads, (make() for _ in loads), best))
            for make in (DaskKubernetes, Adaptive)
        }

        def choose(every: list[Numbers]) -> Numbers:
            ours = processes.map(partial(_under, loads, best), every)
            kinds = {
                numbers: _summaries(loads, best, {Operator.name: out, **peers})
                for numbers, out in zip(every, ours, strict=True)
            }
            for numbers, found in kinds.items():
                click.echo(f"{_line(overall(found).figures[Operator.name])}, {_margin(found):4.0%} better: {numbers}")
            return max(every, key=lambda numbers: _margin(kinds[numbers]))

        chosen = choose([Numbers(*pair) for pair in itertools.product(PATIENCE, HOLD)])
        for field, values in {"shortest": SHORTEST, "longest": LONGEST, "look": LOOK}.items():
            chosen = choose([replace(chosen, **{field: value}) for value in values])
        for name, outcomes in peers.items():
            click.echo(f"{_line(overall(_summaries(loads, best, {name: outcomes})).figures[name])}: {name}")
    click.echo(f"chosen: {chosen}")


def _summaries(loads: list[Load], best: list[Best], outcomes: Mapping[str, list[Outcome]]) -> list[Summary]:
    return summarize(
        Compared(load, oracle, {rule: every[place] for rule, every in outcomes.items()})
        for place, (load, oracle) in enumerate(zip(loads, best, strict=True))
    )


def _margin(kinds: list[Summary]) -> float:
    """By what part of the others' the rule's figures are better, where they are least so."""
    mean = overall(kinds).figures
    ours = mean[Operator.name]
    return min(
        1 - ratio for peer in PEERS for ratio in (ours.wasted / mean[peer].wasted, ours.delay / mean[peer].delay)
    )


def _under(loads: list[Load], best: list[Best], numbers: Numbers) -> list[Outcome]:
    with (
        patch.multiple(
            autoscale,
            PATIENCE=numbers.patience,
            HOLD=numbers.hold,
            SHORTEST_HOLD=timedelta(seconds=numbers.shortest),
            LONGEST_HOLD=timedelta(seconds=numbers.longest),
        ),
        patch.object(Operator, "every", numbers.look),
    ):
        return [run(load, Operator(), oracle) for load, oracle in zip(loads, best, strict=True)]


def _line(figures: Figures) -> str:
    return f"{figures.wasted:6.0f} worker-seconds wasted, delay {figures.delay:4.1f} s"


if __name__ == "__main__":
    main()
