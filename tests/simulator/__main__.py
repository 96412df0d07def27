"""The command line of the simulator."""

from __future__ import annotations

from pathlib import Path

import click

from tests.simulator.comparison import compare, summarize
from tests.simulator.loads import drawn
from tests.simulator.plot import draw
from tests.simulator.table import table


@click.command()
@click.option(
    "--plot",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Draw a picture of each kind of load there, as autoscaling-KIND.png.",
)
def main(plot: Path | None) -> None:
    """Put loads under each autoscaling rule, and print what that wasted and how long people waited."""
    compared = compare(drawn(), progress=lambda name: click.echo(f"{name} …", err=True))
    click.echo(table(summarize(compared)))
    if plot is not None:
        for path in draw(compared, plot):
            click.echo(f"drew {path}", err=True)


if __name__ == "__main__":
    main()
