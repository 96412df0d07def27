"""How the two numbers of the rule were chosen: `python -m tests.simulator.tuning`.

On loads of the same kinds as those of the comparison, but others: of the numbers by which people wait less than under
either of the other rules, on average over all kinds, those that waste least.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from unittest.mock import patch

import click

from dask_k8s_operator.domain import autoscale
from tests.simulator.comparison import mean
from tests.simulator.figures import best_possible, run
from tests.simulator.loads import made_up
from tests.simulator.rules import Adaptive, DaskKubernetes, Operator

if TYPE_CHECKING:
    from tests.simulator.figures import Best, Figures
    from tests.simulator.loads import Load
    from tests.simulator.simulation import Rule

SEEDS = range(11, 21)
"""None of those that the comparison is drawn from."""

MARGIN = 0.1
"""By what part they are to wait less: on other loads of the same kinds, delays differ by as much."""

PATIENCE = (0.0, 0.25, 0.5, 0.75, 1.0)
HOLD = (0.0, 0.25, 0.5, 1.0)


@click.command()
def main() -> None:
    """Try every pair of the rule's two numbers, and print what each wastes and how long people wait."""
    loads = [(load, best_possible(load)) for load in made_up(SEEDS)]
    peers = {rule.name: _figures(rule, loads) for rule in (DaskKubernetes, Adaptive)}
    for name, figures in peers.items():
        click.echo(_line(name, figures))
    tried = {}
    for patience, hold in itertools.product(PATIENCE, HOLD):
        with patch.multiple(autoscale, PATIENCE=patience, HOLD=hold):
            tried[patience, hold] = _figures(Operator, loads)
        click.echo(_line(f"PATIENCE {patience}, HOLD {hold}", tried[patience, hold]))
    for margin in (MARGIN, 0.0):
        longest = (1 - margin) * min(figures.delay for figures in peers.values())
        good = [numbers for numbers, figures in tried.items() if figures.delay <= longest]
        patience, hold = min(good, key=lambda numbers: tried[numbers].wasted)
        click.echo(f"least wasted with {margin:.0%} less delay than either: PATIENCE {patience}, HOLD {hold}")


def _figures(rule: type[Rule], loads: list[tuple[Load, Best]]) -> Figures:
    return mean(run(load, rule(), best).figures for load, best in loads)


def _line(name: str, figures: Figures) -> str:
    return f"{name:24} {figures.wasted:7.0f} worker-seconds wasted, delay {figures.delay:5.1f} s"


if __name__ == "__main__":
    main()
