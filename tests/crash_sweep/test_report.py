"""Every kind of harm counts, is told and leaves evidence; a run without any data at risk proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from integration.crash_sweep.incidents import Fault, Struck
from integration.crash_sweep.kinds import Request
from integration.crash_sweep.report import Tally
from integration.crash_sweep.run import Run
from integration.crash_sweep.scene import Outcome
from integration.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path

INCIDENT = Struck(Request("DELETE pods", 1), Fault.NO_ANSWER)


def _outcome(**changes: Any) -> Outcome:
    run = Run(INCIDENT, past={})
    run.arrives("DELETE pods", {})
    good = Outcome(
        incident=INCIDENT,
        met=True,
        run=run,
        at_risk=20,
        lost=(),
        recomputed=(),
        wrong=(),
        interrupted=(),
        made=(),
        trouble=None,
        seconds=3.0,
        log="said by an operator",
    )
    return replace(good, **changes)


def test_all_is_well(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "evidence", Timeline())
    tally.note(_outcome(), of=2)
    tally.note(_outcome(), of=2)
    report = tally.report(requests=40)
    assert report.success
    assert (report.requests, report.incidents, report.not_met, report.keys_at_risk) == (40, 2, 0, 40)
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize(
    ("changes", "figure"), [({"met": False}, "not_met"), ({"at_risk": 0}, "without_risk"), ({}, "lost_keys")]
)
def test_a_tenth_may_prove_nothing(changes: dict[str, Any], figure: str, tmp_path: Path) -> None:
    tally = Tally(tmp_path, Timeline())
    for _ in range(18):
        tally.note(_outcome(), of=21)
    for _ in range(2):
        tally.note(_outcome(**changes), of=21)
    report = tally.report(requests=40)
    assert report.as_json()[figure] == (2 if changes else 0)
    assert report.success
    tally.note(_outcome(**changes), of=21)
    assert tally.report(requests=40).success is not bool(changes)


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"lost": ("scattered-1",)}, "lost_keys"),
        ({"recomputed": ("computed-1",)}, "recomputed_keys"),
        ({"wrong": ("computed-1",)}, "wrong_results"),
        ({"made": ("dask-worker-1",)}, "surplus_workers"),
        ({"interrupted": ("begun-1",)}, "interrupted_tasks"),
        ({"trouble": "too late\nthe state of the namespace"}, "not_converged"),
    ],
)
def test_harm(changes: dict[str, Any], figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(tmp_path, Timeline())
    tally.note(_outcome(), of=2)
    tally.note(_outcome(**changes), of=2)
    report = tally.report(requests=40)
    assert report.as_json()[figure] == 1
    assert not report.success
    [what] = changes.values()
    first = (what if isinstance(what, str) else what[0]).splitlines()[0]
    assert first in capsys.readouterr().out
    [file] = report.evidence
    found = (tmp_path / "1.txt").read_text()
    assert file == str(tmp_path / "1.txt")
    assert all(text in found for text in (str(INCIDENT), "DELETE pods #1", "said by an operator", first))
    assert "the state of the namespace" in found or "trouble" not in changes


def test_what_could_not_be_played(tmp_path: Path) -> None:
    tally = Tally(tmp_path, Timeline())
    tally.note(_outcome(), of=2)
    tally.broke(INCIDENT, None, RuntimeError("no workers\nat all"))
    report = tally.report(requests=40)
    assert (report.incidents, report.not_converged, report.success) == (2, 1, False)
    assert "at all" in (tmp_path / "1.txt").read_text()


def test_nothing_at_risk_proves_nothing(tmp_path: Path) -> None:
    tally = Tally(tmp_path, Timeline())
    tally.note(_outcome(at_risk=0), of=1)
    assert not tally.report(requests=40).success
