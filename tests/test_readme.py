"""What the README tells a reader to type is what continuous integration runs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_ci_runs_the_command_for_all_tests_and_nothing_else() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)
    demo, everything = commands
    assert demo == f"{everything} -s demo"
    script = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    steps = [line for line in script if line and not line.startswith(("#", "set ", "cd "))]
    assert steps == [everything]
