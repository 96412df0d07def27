"""`docs/troubles.md`: what kubectl showed of Clusters in trouble when the tests met them, so that what it shows is so.

A test that sees something else fails. With `WRITE_TROUBLES=1` in the environment it writes what it sees.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from integration.bad_input_page import says_it_this_way
from integration.kube import CLUSTERS, TooLate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from integration.kube import Kube

PAGE = Path(__file__).resolve().parents[1] / "docs" / "troubles.md"
_WRITE = "WRITE_TROUBLES"
_AGE = re.compile(r"(?<=\s)\d+[smh](?:\d+[smh])?(?: \(x\d+ over \d+[smh](?:\d+[smh])?\))?(?=\s)")
_SHOWN = ("Message:", "Reason:", "Status:", "Type:")
_OTHER_EACH_TIME = {
    r"\b([a-z]+)-(?:worker-[b-z2-9]{6}|scheduler-[0-9a-f]+-[b-z2-9]{5})\b": r"\1-…",
    r"revision [0-9a-f]{10}": "revision …",
    r"\([\d.]+ [KM]?i?B\)": "(… KiB)",
    r"(failed to pull and unpack image) .*": r"\1 …",
}


def check(section: str, kube: Kube, name: str, condition: str, *, words: Mapping[str, str]) -> None:
    """Wait until kubectl shows what a section of the page shows, or write what it shows.

    Args:
        section: its heading.
        kube: where the Cluster is.
        name: the Cluster's.
        condition: the one that tells.
        words: what to write for words that are others each time, such as an image.

    Raises:
        TooLate: the page shows something else.
    """
    if os.environ.get(_WRITE):
        _write(section, _shown(kube, name, condition, words))
    elif says_it_this_way(kube):
        there = _block(section)
        shown = ""

        def same() -> bool:
            nonlocal shown
            shown = _shown(kube, name, condition, words)
            return _without_repetitions(shown) == _without_repetitions(there)

        try:
            kube.wait_for(f"{PAGE.name} ({_WRITE}=1 writes it) shows of {name} what kubectl does", same)
        except TooLate as late:
            difference = "\n".join(difflib.unified_diff(there.splitlines(), shown.splitlines(), PAGE.name, "kubectl"))
            raise TooLate(f"{difference}\n{late}") from None


def _without_repetitions(text: str) -> list[str]:
    """Its lines, and each Event once: a kubelet puts one trouble into several words, which are left out here."""
    lines = text.splitlines()
    events = {line for line in lines if line.startswith("  Warning")}
    return [line for line in lines if line not in events] + sorted(events)


def _shown(kube: Kube, name: str, condition: str, words: Mapping[str, str]) -> str:
    heading, *listed = (line.rstrip() for line in kube.run("get", CLUSTERS, name).splitlines())
    described = kube.run("describe", CLUSTERS, name)
    lines = [
        f"$ kubectl get {CLUSTERS} {name}",
        heading,
        *(re.sub(r"\S+$", "…", line) for line in listed),
        f"$ kubectl describe {CLUSTERS} {name}",
        "…",
        *_condition(described, condition),
        "…",
        *_events(described),
    ]
    text = "\n".join(line.rstrip() for line in lines)
    for word, replacement in {kube.namespace: "NAMESPACE", **words}.items():
        text = text.replace(word, replacement)
    for pattern, replacement in _OTHER_EACH_TIME.items():
        text = re.sub(pattern, replacement, text)
    return text


def _condition(described: str, kind: str) -> list[str]:
    blocks = re.split(r"(?=^    Last Transition Time:)", described, flags=re.MULTILINE)
    [block] = [block for block in blocks if re.search(rf"^    Type: +{kind}$", block, re.MULTILINE)]
    return [line for line in block.splitlines() if line.strip().startswith(_SHOWN)]


def _events(described: str) -> list[str]:
    """The warnings, each once."""
    events = described.partition("\nEvents:\n")[2].splitlines()
    warnings = [_AGE.sub("…", line) for line in events if line.split()[:1] == ["Warning"]]
    return ["Events:", *dict.fromkeys(re.sub(r" {2,}", "  ", line) for line in warnings)]


def _block(section: str) -> str:
    rest = PAGE.read_text().partition(f"## {section}\n")[2]
    return rest.partition("```console\n")[2].partition("\n```")[0]


def _write(section: str, text: str) -> None:
    with PAGE.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # other processes write other sections
        before, heading, rest = file.read().partition(f"## {section}\n")
        assert heading, f"{PAGE.name} has no section {section}"
        introduction, fence, old = rest.partition("```console\n")
        assert fence, f"section {section} of {PAGE.name} has no block to write into"
        after = old.partition("```")[2]
        file.seek(0)
        file.truncate()
        file.write(f"{before}{heading}{introduction}{fence}{text}\n```{after}")
