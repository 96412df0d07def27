"""The comparison as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.comparison import overall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulator.comparison import Summary
    from tests.simulator.reliability import Ratios


def reliability(
    ratios: Mapping[tuple[str, str], Ratios], equal: Mapping[tuple[str, str], tuple[int, float] | None]
) -> str:
    """A Markdown table: how it stands on further draws, and with people waiting equally long."""
    lines = [
        "| load | beside | waste | delay | ahead in both | waste at no more delay |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (kind, peer), found in ratios.items():
        fair = equal.get((kind, peer))
        last = "" if (kind, peer) not in equal else "never" if fair is None else f"{fair[1]:.0%} with {fair[0]} s"
        both = f"{found.ahead} of {len(found.wasted)}"
        lines.append(f"| {kind} | {peer} | {_range(found.wasted)} | {_range(found.delay)} | {both} | {last} |")
    return "\n".join(lines)


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.0%} to {max(ratios):.0%}"


def table(summaries: list[Summary]) -> str:
    """A Markdown table: the figures of each kind of load under each rule, and of all together."""
    lines = [
        "| load | rule | worker-seconds wasted | delay, s | flaps | tasks run again |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for summary in (*summaries, overall(summaries)):
        name = f" **{summary.name}**"
        for rule, found in summary.figures.items():
            figures = f"{found.wasted:.0f} | {found.delay:.1f} | {found.flaps:.0f} | {found.rerun:.0f}"
            lines.append(f"|{name} | {rule} | {figures} |")
            name = ""
    return "\n".join(lines)
