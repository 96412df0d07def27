"""Pictures of the comparison: how many workers there were at each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.simulator.comparison import Compared
    from tests.simulator.figures import Outcome

STARTING, READY, USEFUL = "#f2b134", "#2f6d9e", "#1a1a1a"


def draw(compared: Iterable[Compared], folder: Path) -> list[Path]:
    """Draw one picture of each kind of load, of the first such load.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, Compared] = {}
    for one in compared:
        first.setdefault(one.load.name, one)
    files = []
    for name, one in first.items():
        path = folder / f"autoscaling-{name.replace(' ', '-')}.png"
        # Without the time and the version that it would note, the same picture is the same file.
        _picture(one).savefig(path, dpi=80, metadata={"Software": None})
        files.append(path)
    return files


def _picture(compared: Compared) -> Figure:
    figure = Figure(figsize=(11, 1.6 * len(compared.outcomes) + 0.9), layout="constrained")
    rows = figure.subplots(len(compared.outcomes), sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (rule, outcome) in zip(rows, compared.outcomes.items(), strict=True):
        _row(axes, compared, outcome)
        figures = outcome.figures
        wasted, flaps = f"{figures.wasted:.0f} worker-seconds wasted", f"{figures.flaps:.0f} flaps"
        axes.set_title(f"{rule}: {wasted}, delay {figures.delay:.1f} s, {flaps}", loc="left", fontsize=10)
        axes.set_ylabel("workers")
    end = max(outcome.workers[-1][0] for outcome in compared.outcomes.values())
    rows[-1].set_xlim(0, min(end, compared.load.until))
    rows[-1].set_xlabel("seconds")
    figure.legend(
        *rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=9, title=compared.load.name
    )
    return figure


def _row(axes: Axes, compared: Compared, outcome: Outcome) -> None:
    seconds, pods, ready = zip(*outcome.workers, strict=True)
    axes.fill_between(seconds, pods, step="post", color=STARTING, linewidth=0, label="starting")
    axes.fill_between(seconds, ready, step="post", color=READY, linewidth=0, label="ready")
    seconds, useful, _ = zip(*compared.best.workers, strict=True)
    axes.step(seconds, useful, where="post", color=USEFUL, linewidth=0.6, label="useful, to an oracle")
    axes.set_ylim(bottom=0)
