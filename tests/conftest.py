"""What is told at the end of all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

EXPLORED = "explored"
"""The property by which a test of the model says how much it has explored; it comes through from other processes."""


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """List what the model checker has explored."""
    told = [
        f"{report.nodeid.partition('[')[2].rstrip(']')}: {text}"
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == EXPLORED
    ]
    if told:
        terminalreporter.write_sep("-", "explored by the model checker")
        terminalreporter.write("".join(f"{line}\n" for line in sorted(told)))
