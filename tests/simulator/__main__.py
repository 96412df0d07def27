"""The command line of the simulator."""

from __future__ import annotations

from pathlib import Path

import click

from tests.simulator.comparison import compare, summarize
from tests.simulator.loads import drawn
from tests.simulator.plot import draw
from tests.simulator.reliability import at_equal_delay, spread
from tests.simulator.table import reliability, table


@click.command()
@click.option(
    "--plot",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Draw a picture of each kind of load there, as autoscaling-KIND.png.",
)
@click.option("--further", is_flag=True, help="Put further draws of the loads under the rules, too; takes minutes.")
def main(*, plot: Path | None, further: bool) -> None:
    """Put loads under each autoscaling rule, and print what that wasted and how long people waited."""
    compared = compare(drawn(), progress=lambda name: click.echo(f"{name} …", err=True))
    click.echo(table(summarize(compared)))
    if further:
        click.echo(f"\n{reliability(spread(), at_equal_delay(compared))}")
    if plot is not None:
        for path in draw(compared, plot):
            click.echo(f"drew {path}", err=True)


if __name__ == "__main__":
    main()
