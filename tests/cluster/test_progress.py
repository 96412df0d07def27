"""What the person who waits is told."""

from __future__ import annotations

import re
import time

import pytest

from integration.cluster import progress
from integration.cluster.progress import elapsed, step


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_a_step_says_that_it_began_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with step("Building"):
        pass
    with pytest.raises(ValueError, match="no"), step("Loading"):
        raise ValueError("no")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Building ..."
    assert re.fullmatch(r"Building: done in 0\.\d s", lines[1])
    assert re.fullmatch(r"Loading: failed after 0\.\d s", lines[3])


def test_only_the_innermost_step_ticks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LOG_TICK", 0.02)
    with step("outer"), step("inner"):
        deadline = time.monotonic() + 10
        while (ticked := capsys.readouterr().err).count("inner ... ") < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
    assert "inner ... 0." in ticked
    assert "outer ... 0." not in ticked
