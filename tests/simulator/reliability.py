"""How far the comparison can be trusted: on other draws of the same loads, and with people waiting equally long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.simulator.comparison import PEERS, compare, is_ahead, mean, overall, summarize
from tests.simulator.figures import run
from tests.simulator.loads import DRAWN, made_up
from tests.simulator.rules import Operator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulator.comparison import Compared, Summary

SETS = tuple(range(start, start + len(DRAWN)) for start in range(200, 240, 10))
"""Further draws, as large as that of the comparison. No number of the rule was chosen by these either."""

WINDOWS = (2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300)
"""In seconds."""


@dataclass(frozen=True)
class Ratios:
    """The operator's rule beside another, on one kind of load over several draws.

    Attributes:
        wasted: its waste by the other's, for each draw.
        delay: the same of how long people wait.
        ahead: in how many draws it is ahead in both.
    """

    wasted: list[float]
    delay: list[float]
    ahead: int


def spread() -> dict[tuple[str, str], Ratios]:
    """By kind and rule, how it stands on each of the further draws; the mean of all kinds is one of them."""
    draws = [summarize(compare(made_up(seeds))) for seeds in SETS]
    return {
        (kinds[0].name, peer): Ratios(
            wasted=[_ratio(kind, peer, "wasted") for kind in kinds],
            delay=[_ratio(kind, peer, "delay") for kind in kinds],
            ahead=sum(is_ahead(kind, peer) for kind in kinds),
        )
        for kinds in zip(*([*draw, overall(draw)] for draw in draws), strict=True)
        for peer in PEERS
    }


def at_equal_delay(compared: Iterable[Compared]) -> dict[tuple[str, str], tuple[int, float] | None]:
    """By kind and rule, the window with which people wait no longer than under that rule and least is wasted.

    Returns:
        The window, and what is wasted with it by what the other wastes; None: people always wait longer.
    """
    kinds: dict[str, list[Compared]] = {}
    for one in compared:
        kinds.setdefault(one.load.name, []).append(one)
    found: dict[tuple[str, str], tuple[int, float] | None] = {}
    for name, every in kinds.items():
        tried = {
            window: mean(run(one.load, Operator(timedelta(seconds=window)), one.best).figures for one in every)
            for window in WINDOWS
        }
        for peer in PEERS:
            theirs = mean(one.outcomes[peer].figures for one in every)
            good = {window: ours for window, ours in tried.items() if ours.delay <= theirs.delay}
            least = min(good, key=lambda window: good[window].wasted, default=None)
            found[name, peer] = None if least is None else (least, good[least].wasted / theirs.wasted)
    return found


def _ratio(kind: Summary, peer: str, figure: str) -> float:
    return float(getattr(kind.figures[Operator.name], figure) / getattr(kind.figures[peer], figure))
