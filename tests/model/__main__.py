"""`python -m tests.model`: explore worlds as large as one has time for, and say how far it has come."""

from __future__ import annotations

import sys
from typing import Any

import click
from hypothesis.stateful import run_state_machine_as_test

from tests.model.explore import explore
from tests.model.walks import Walk, so_many
from tests.model.world import Rules
from tests.model.worlds import LARGER, LARGEST, named

USER = ("scale", "delete", "put", "release", "submit", "kill", "edit", "freeze")
WALKS, LONG_WALKS = 1_000, 20_000


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Explore every order of events; exits with 1 and the events where a promise is broken."""


@main.command()
@click.option("--long", is_flag=True, help="The largest ones, too, and more walks.")
def all_larger(*, long: bool) -> None:
    """Explore worlds that take too long for the tests, and walk at random through one that is too large to explore."""
    broken = False
    for rules in (*LARGER, *(LARGEST if long else ())):
        found = explore(rules, progress=_tell)
        click.echo(f"{named(rules)}: {found}")
        broken = broken or found.violation is not None
    walks = LONG_WALKS if long else WALKS
    run_state_machine_as_test(Walk, settings=so_many(walks))
    click.echo(f"{walks} walks of up to 200 steps")
    if broken:
        sys.exit(1)


@main.command()
@click.option("--workers", default=4, help="At the beginning, and the most that users scale to.")
@click.option("--keys", default=4, help="At the beginning, in every place, and the most at a time.")
@click.option("--actions", default=3, help="How many things users do.")
@click.option("--user", type=click.Choice(USER), multiple=True, default=("scale", "delete"), help="What they may do.")
@click.option("--crashes", default=1, help="How often the operator is killed.")
@click.option("--faults", default=0, help="How many requests or answers are lost.")
@click.option("--tasks", default=0, help="How many tasks there are at a time (with --user submit).")
@click.option("--pending", default=0, help="How many pods have not started at the beginning.")
@click.option("--no-hook", is_flag=True, help="Pods have no preStop hook.")
@click.option("--no-rpc", is_flag=True, help="The scheduler's RPC port can't be used.")
@click.option("--split", is_flag=True, help="Other things happen between the reads of one look.")
@click.option("--late", is_flag=True, help="A creation that was given up may arrive.")
@click.option("--deadline", is_flag=True, help="Workers that can't be retired in time are to be deleted.")
@click.option("--hidden", is_flag=True, help="The first pod's worker can't be matched to it.")
@click.option("--stranger", is_flag=True, help="The scheduler has a worker that belongs to no pod.")
@click.option("--second", is_flag=True, help="Another operator makes one pass at any time.")
@click.option("--copies", default=1, help="How many copies of each key there are at the beginning.")
@click.option("--surge", default=1, help="The rollout's maxSurge (with --user edit).")
@click.option("--unavailable", default=0, help="The rollout's maxUnavailable (with --user edit).")
@click.option("--unreduced", is_flag=True, help="Take steps in every order, even where that can't matter.")
@click.option("--most", type=int, help="Stop after so many states.")
def one(
    *, unreduced: bool, user: tuple[str, ...], no_hook: bool, no_rpc: bool, most: int | None, **bounds: Any
) -> None:
    """Explore one kind of world."""
    rules = Rules(**bounds, user=frozenset(user), hook=not no_hook, rpc=not no_rpc, reduced=not unreduced)
    found = explore(rules, most=most, progress=_tell)
    click.echo(str(found))
    if found.violation is not None:
        sys.exit(1)


def _tell(states: int, waiting: int) -> None:
    if states % 100_000 == 0:
        click.echo(f"{states} states, {waiting} of them to go on from", err=True)


if __name__ == "__main__":
    main()
