"""`docs/bad-input.md`: the messages that the tests met, so that what it says is so.

A test that meets other messages fails. With `WRITE_BAD_INPUT=1` in the environment it writes its part of the page.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from integration.kube import Kube

PAGE = Path(__file__).resolve().parents[1] / "docs" / "bad-input.md"
KUBERNETES = "v1.35"
"""Whose words stand there."""

_WRITE = "WRITE_BAD_INPUT"

_NOISE = re.compile(r"\n\* <nil>: Invalid value: null: some validation rules were not checked[^\n]*")
_REPEATED = re.compile(r'Invalid value: "\{.*\}": ', re.DOTALL)
"""The whole change, which kubectl sends and the API server repeats."""
_HEADING = "| input | where | message |\n|---|---|---|\n"


@dataclass(frozen=True)
class Met:
    """What a user was told.

    Attributes:
        title: of the mistake.
        where: he reads it.
        message: as it was.
    """

    title: str
    where: str
    message: str


def told_by_kubectl(stderr: str) -> str:
    """What kubectl says, without what it repeats of the input."""
    return " ".join(_REPEATED.sub("Invalid value: …: ", _NOISE.sub("", stderr.strip())).split())


def check(section: str, met: Iterable[Met], kube: Kube, **names: str) -> None:
    """Compare a section's table with what users were told, or write it.

    Args:
        section: its heading.
        met: in the order of the table.
        kube: where it was.
        names: what to write for words that are others each time, such as an image.

    Raises:
        AssertionError: the page says something else.
    """
    words = {kube.namespace: "NAMESPACE", **{word: name for name, word in names.items()}}
    table = _HEADING + "".join(_row(one, words) for one in met)
    if os.environ.get(_WRITE):
        _write(section, table)
    elif says_it_this_way(kube):
        there = _section(PAGE.read_text(), section).splitlines()
        other = "\n".join(line for line in table.splitlines() if line not in there)
        assert there == table.splitlines(), f"{PAGE.name} is out of date; write it with {_WRITE}=1: {other}"


def says_it_this_way(kube: Kube) -> bool:
    """Whether it is the version of Kubernetes whose words stand on the page."""
    version = json.loads(kube.run("version", "--output=json"))["serverVersion"]["gitVersion"]
    return str(version).startswith(KUBERNETES)


def _row(met: Met, words: dict[str, str]) -> str:
    text = met.message
    for word, name in words.items():
        text = text.replace(word, name)
    text = re.sub(r"\b(?:dask|new-\d+)-(worker-[b-z2-9]{6}|scheduler-[0-9a-f]+-\w{5})\b", "…", text)
    text = re.sub(r"used: pods=\d+", "used: pods=…", text)  # with those on their way out
    text = re.sub(r"(failed to pull and unpack image) .*", r"\1 …", text).replace("|", "\\|")
    return f"| {met.title} | {met.where} | `` {text} `` |\n"


def _section(page: str, section: str) -> str:
    rest = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return f"{_HEADING}{rest.partition(_HEADING)[2].rstrip()}\n"


def _write(section: str, table: str) -> None:
    with PAGE.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # other processes write other sections
        page = file.read()
        before, heading, rest = page.partition(f"## {section}\n")
        assert heading, f"{PAGE.name} has no section {section}"
        introduction = rest.partition("|")[0].partition("\n## ")[0].strip("\n")
        following = rest.partition("\n## ")[2]
        after = f"\n## {following}" if following else ""
        file.seek(0)
        file.truncate()
        file.write(f"{before}{heading}\n{introduction}\n\n{table}{after}")
