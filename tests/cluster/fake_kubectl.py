"""A kubectl that notes what it is asked and answers as arranged."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_KUBECTL = """#!{python} -I
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([os.environ.get("KUBECONFIG"), *sys.argv[1:]]) + "\\n")
for words, status, output in json.loads((folder / "answers").read_text()):
    if words in " ".join(sys.argv[1:]):
        print(output, file=sys.stderr if status else sys.stdout)
        sys.exit(status)
print("yes")
"""


@dataclass
class Kubectl:
    """The stand-in: what it was asked, and how it answers."""

    folder: Path

    def answer(self, words: str, output: str, *, status: int = 0) -> None:
        """Answer a call that contains some words in this way; any other is answered `yes`."""
        answers = json.loads((self.folder / "answers").read_text())
        (self.folder / "answers").write_text(json.dumps([[words, status, output], *answers]))

    def calls(self) -> list[list[str]]:
        """KUBECONFIG and the arguments of every call."""
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    script = folder / "bin" / "kubectl"
    script.parent.mkdir()
    script.write_text(_KUBECTL.format(python=sys.executable, folder=str(folder)))
    script.chmod(0o755)
    (folder / "answers").write_text("[]")
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return Kubectl(folder)
