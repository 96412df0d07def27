"""Logs outlive the pods that they are of, and are read as one."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from integration.chaos import evidence
from integration.chaos.evidence import LogKeeper

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def line(seconds: int, text: str) -> str:
    return f"{(NOON + timedelta(seconds=seconds)):%Y-%m-%dT%H:%M:%S}.000000001Z stderr F {text}\n"


def log(pods: Path, pod: str, *lines: str) -> Path:
    file = pods / f"chaos_{pod}_uid-{pod}" / "worker" / "0.log"
    file.parent.mkdir(parents=True)
    file.write_text("".join(lines))
    return file


def wait_kept(kept: Path, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(list(kept.glob("*.log"))) < count:
        assert time.monotonic() < deadline, "logs were not kept"
        time.sleep(0.05)


def test_logs_of_pods_that_are_gone_are_kept_and_merged_by_time(tmp_path: Path) -> None:
    pods, kept = tmp_path / "pods", tmp_path / "kept"
    first = log(pods, "a", line(-5, "long ago"), line(1, "one"))
    log(pods, "b", line(2, "two"))
    log(pods.parent / "elsewhere", "c", line(2, "not of this node"))
    with LogKeeper(pods, "chaos", kept) as keeper:
        wait_kept(kept, 2)
        with first.open("a") as more:
            more.write(line(3, "three"))
        shutil.rmtree(first.parent.parent)
        said = list(keeper.since(NOON))
    assert [text.split("Z")[0].split(" ", 1)[1] for text in said] == [
        "a/worker: one\n",
        "b/worker: two\n",
        "a/worker: three\n",
    ]


def test_what_is_written_down_says_what_happened_first(tmp_path: Path) -> None:
    with LogKeeper(tmp_path / "pods", "chaos", tmp_path / "kept") as keeper:
        file = tmp_path / "evidence" / "1.txt"
        evidence.write(file, title="2 lost", keeper=keeper, last=timedelta(seconds=60), diagnosis="all pods")
    text = file.read_text()
    assert text.startswith("2 lost\n")
    assert text.endswith("all pods\n")
