"""Results that are made once, and never seen half-finished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from integration.cluster import cache
from integration.cluster.cache import claim, digest, digest_files, once

if TYPE_CHECKING:
    from pathlib import Path


def test_a_result_is_made_once(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "result"
    target.parent.mkdir()
    assert once(target, lambda path: path.write_text("first")) == target
    once(target, lambda _: pytest.fail("made again"))
    assert target.read_text() == "first"


def test_the_folder_of_a_result_need_not_be_there(tmp_path: Path) -> None:
    once(tmp_path / "a" / "b" / "result", lambda path: path.mkdir())
    assert (tmp_path / "a" / "b" / "result").is_dir()


def test_a_failure_leaves_nothing_behind_and_is_tried_again(tmp_path: Path) -> None:
    target = tmp_path / "result"

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        once(target, fail)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    once(target, lambda path: path.write_text("whole"))
    assert target.read_text() == "whole"


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from integration.cluster.cache import once\n"
        "def make(path):\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "once(pathlib.Path(sys.argv[1]), make)\n"
    )
    target = tmp_path / "result"
    assert subprocess.run([sys.executable, "-c", script, str(target)], check=False).returncode != 0  # noqa: S603
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 2, "the lock, and the half-finished result"
    once(target, lambda path: path.write_text("whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "result"]


def test_processes_at_the_same_time_make_it_once(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from integration.cluster.cache import once\n"
        "def make(path):\n"
        "    with (pathlib.Path(sys.argv[1]).parent / 'made').open('a') as file: file.write('x')\n"
        "    time.sleep(0.3)\n"
        "    path.touch()\n"
        "once(pathlib.Path(sys.argv[1]), make)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "result")]
    with ThreadPoolExecutor(max_workers=3) as pool:
        statuses = list(pool.map(lambda _: subprocess.run(argv, check=False).returncode, range(3)))  # noqa: S603
    assert statuses == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"


def used(folder: Path, name: str, *, minutes: float) -> Path:
    """A result that was last used so long ago."""
    (folder / name).touch()
    then = time.time() - 60 * minutes
    os.utime(folder / name, (then, then))
    return folder / name


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_the_most_recently_used_results_are_kept(tmp_path: Path) -> None:
    for minutes, name in ((60, "newer.tar"), (70, "older.tar"), (80, "oldest.tar"), (90, "other.txt")):
        used(tmp_path, name, minutes=minutes)
    assert claim(used(tmp_path, "mine.tar", minutes=100), keep=2)
    assert left(tmp_path) == ["mine.tar", "newer.tar", "other.txt"]


def test_what_another_process_has_just_claimed_stays_however_many_there_are(tmp_path: Path) -> None:
    for number in range(5):
        assert claim(used(tmp_path, f"{number}.tar", minutes=60 + number), keep=10)
    assert claim(used(tmp_path, "mine.tar", minutes=0), keep=1)
    assert len(left(tmp_path)) == 6


def test_what_is_not_there_can_not_be_claimed(tmp_path: Path) -> None:
    assert not claim(tmp_path / "mine.tar", keep=3)
    assert left(tmp_path) == []


def test_processes_that_claim_and_tidy_at_the_same_time_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removes what the others are looking at, or would, without the lock."""
    monkeypatch.setattr(cache, "_IN_USE_SECONDS", -1)
    script = (
        "import pathlib, sys\n"
        "from integration.cluster import cache\n"
        "cache._IN_USE_SECONDS = -1.0\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for number in range(300):\n"
        "    file = folder / f'{sys.argv[2]}-{number}.tar'\n"
        "    file.touch()\n"
        "    cache.claim(file, keep=1)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name])  # noqa: S603
        for name in "abc"
    ]
    assert [process.wait() for process in started] == [0, 0, 0]


def test_inputs_are_told_apart_by_content_order_and_boundaries() -> None:
    names = {digest("ab", "c"), digest("a", "bc"), digest("c", "ab"), digest("abc"), digest("abc", "")}
    assert len(names) == 5
    assert digest("abc") == digest(b"abc")


def test_files_are_told_apart_by_content_and_name(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    first = digest_files(tmp_path, [file])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "a").write_text("1")
    assert digest_files(tmp_path / "copy", [tmp_path / "copy" / "a"]) == first
    file.write_text("2")
    assert digest_files(tmp_path, [file]) != first
    file.rename(tmp_path / "b").write_text("1")
    assert digest_files(tmp_path, [tmp_path / "b"]) != first
