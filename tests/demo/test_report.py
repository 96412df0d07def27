"""When the demo counts as a success."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from integration.demo.scenario import START, Report

GOOD = Report(
    lost_keys=0,
    recomputed_keys=0,
    results_equal=True,
    spread_over=START,
    scale_up_seconds=3.0,
    scale_down_seconds=4.0,
    held_keys=184,
    answers=20,
    wrong_answers=0,
    steps=(),
)


@pytest.mark.parametrize(
    ("change", "success"),
    [
        ({}, True),
        ({"lost_keys": 1}, False),
        ({"recomputed_keys": 1}, False),
        ({"results_equal": False}, False),
        ({"spread_over": START - 1}, False),
        ({"scale_up_seconds": 300.0}, True),
    ],
)
def test_success(change: dict[str, Any], *, success: bool) -> None:
    assert replace(GOOD, **change).success is success
