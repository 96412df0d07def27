"""A soak succeeds where nothing is lost and enough was done to say so; where it was cut short, it says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from integration.agent.client import AgentError
from integration.chaos.soak import Report, Soak

GOOD = Report(
    seed=1,
    minutes=5,
    actions=15,
    lost_keys=0,
    recomputed_keys=0,
    wrong_results=0,
    converged=True,
    settling_seconds=20.0,
    slow_pods=1,
    held_keys=200,
    answers=80,
    refused_scatters=3,
    actions_by_kind={"Scale": 15},
    evidence=[],
)


def test_all_is_well() -> None:
    assert GOOD.success


@pytest.mark.parametrize(
    "changes",
    [
        {"lost_keys": 1},
        {"recomputed_keys": 1},
        {"wrong_results": 1},
        {"converged": False},
        {"cut_short_by": "no answer"},
        {"actions": 12},
        {"answers": 14},
        {"refused_scatters": 4},
    ],
)
def test_what_is_not_a_success(changes: dict[str, Any]) -> None:
    assert not replace(GOOD, **changes).success


def test_what_is_cut_short_is_reported_with_the_reason() -> None:
    soak = Soak(minutes=60, seed=3)
    soak.cut_short(AgentError("no answer to look\nand more"))
    report = soak.report()
    assert (report.seed, report.converged, report.cut_short_by) == (3, False, "no answer to look")
    assert not report.success
