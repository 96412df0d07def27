"""The comparison as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.comparison import overall

if TYPE_CHECKING:
    from tests.simulator.comparison import Summary


def table(summaries: list[Summary]) -> str:
    """A Markdown table: the figures of each kind of load under each rule, and of all together."""
    lines = [
        "| load | rule | worker-seconds wasted | delay, s | flaps | tasks run again |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for summary in (*summaries, overall(summaries)):
        lines.append(f"| **{summary.name}** | an oracle | {summary.oracle:.0f} | 0 | | |")
        lines += [
            f"| | {rule} | {figures.wasted:.0f} | {figures.delay:.1f} | {figures.flaps:.0f} | {figures.rerun:.0f} |"
            for rule, figures in summary.figures.items()
        ]
    return "\n".join(lines)
