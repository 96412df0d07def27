"""What `docs/autoscaling.md` shows and claims of the built-in autoscaler beside others: no change loses it unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulator.comparison import PEERS, compare, is_ahead, overall, summarize
from tests.simulator.loads import drawn
from tests.simulator.rules import Adaptive, DaskKubernetes, Operator
from tests.simulator.table import table

PAGE = Path(__file__).parents[2] / "docs" / "autoscaling.md"

AHEAD = {
    "one burst": {DaskKubernetes.name},
    "bursts": set[str](),
    "slow images": {DaskKubernetes.name},
    "sawtooth": set[str](),
    "long tasks": set[str](),
    "notebook": {Adaptive.name},
    "stages": {Adaptive.name},
    "recorded": {Adaptive.name},
}
"""By kind of load, who wastes more while people wait as long or longer."""


@pytest.mark.very_many_cases
def test_the_page_shows_what_the_simulator_gives() -> None:
    summaries = summarize(compare(drawn()))
    assert table(summaries) in PAGE.read_text("utf-8"), "write `python -m tests.simulator` there"
    assert {kind.name: {peer for peer in PEERS if is_ahead(kind, peer)} for kind in summaries} == AHEAD
    assert all(is_ahead(overall(summaries), peer) for peer in PEERS)
    assert {kind.figures[Operator.name].rerun for kind in summaries} == {0}, "no task of its workers is cut short"
