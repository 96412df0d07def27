"""What `docs/autoscaling.md` claims of the built-in autoscaler beside others: no change of the rule loses it unseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.simulator.comparison import compare, overall, summarize
from tests.simulator.loads import drawn
from tests.simulator.rules import Adaptive, DaskKubernetes, Operator

if TYPE_CHECKING:
    from tests.simulator.comparison import Summary

ADAPTIVE, DASK_KUBERNETES = Adaptive.name, DaskKubernetes.name
BOTH = {ADAPTIVE, DASK_KUBERNETES}


@dataclass(frozen=True)
class Claim:
    """Over whom the operator's rule is ahead on a kind of load.

    Attributes:
        wasted: who wastes more worker-seconds.
        delay: under whom people wait as long or longer.
        flaps: who makes as many workers soon after others were removed, or more.
    """

    wasted: set[str]
    delay: set[str]
    flaps: set[str]


CLAIMS = {
    "one burst": Claim(wasted={DASK_KUBERNETES}, delay=BOTH, flaps=BOTH),
    "bursts": Claim(wasted={DASK_KUBERNETES}, delay=set(), flaps={ADAPTIVE}),
    "slow images": Claim(wasted={DASK_KUBERNETES}, delay=BOTH, flaps=BOTH),
    "sawtooth": Claim(wasted=BOTH, delay=set(), flaps=BOTH),
    "long tasks": Claim(wasted={DASK_KUBERNETES}, delay=BOTH, flaps=set()),
    "notebook": Claim(wasted=BOTH, delay=set(), flaps=BOTH),
    "stages": Claim(wasted=BOTH, delay=BOTH, flaps=BOTH),
    "recorded": Claim(wasted=BOTH, delay={ADAPTIVE}, flaps=BOTH),
}


def ahead(summary: Summary) -> Claim:
    ours = summary.figures[Operator.name]
    others = {name: figures for name, figures in summary.figures.items() if name != Operator.name}
    return Claim(
        wasted={name for name, figures in others.items() if ours.wasted < figures.wasted},
        delay={name for name, figures in others.items() if ours.delay <= figures.delay},
        flaps={name for name, figures in others.items() if ours.flaps <= figures.flaps},
    )


@pytest.mark.very_many_cases
def test_it_is_ahead_of_others_where_that_is_claimed() -> None:
    summaries = summarize(compare(drawn()))
    assert [summary.name for summary in summaries] == list(CLAIMS)
    lost = [
        f"{figure} on {kind.name}: {rule}"
        for kind in summaries
        for figure in ("wasted", "delay", "flaps")
        for rule in getattr(CLAIMS[kind.name], figure) - getattr(ahead(kind), figure)
    ]
    assert lost == []
    assert ahead(overall(summaries)) == Claim(wasted=BOTH, delay=BOTH, flaps=BOTH)
    assert {kind.figures[Operator.name].rerun for kind in summaries} == {0}, "no task of its workers is cut short"
