"""`python -m integration.crash_sweep`: brings a cluster up, runs the sweep on it, and takes it down if it wasn't up."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import get_args

import click

from integration.cluster.choice import select
from integration.cluster.cli import ask
from integration.cluster.provider import ProviderError
from integration.crash_sweep.scene import Access


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--long", is_flag=True, help="Everything that can befall every request, instead of some of each kind.")
@click.option(
    "--scheduler-access",
    type=click.Choice(get_args(Access)),
    default="proxy",
    show_default=True,
    help="How the operator reaches the scheduler: proxy, through the API server; direct, as where it is installed, "
    "which adds the requests to the scheduler's RPC port and needs root.",
)
@click.option(
    "--lanes",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many incidents to play at a time, each on a Dask cluster of its own with an operator of its own.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    help="Where to write the operators' logs, and the evidence of incidents that did harm; a new temporary folder "
    "where not given.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Use the existing cluster that this file leads to.",
)
def main(long: bool, scheduler_access: Access, lanes: int, folder: Path | None, kubeconfig: Path | None) -> None:
    """Let every request of the operator meet every fault, in the middle of a scale-down that holds data.

    A Dask cluster of three workers is scaled to one, again and again. The operator is killed right before one of its
    requests, to Kubernetes or to the scheduler, or right after it; the request is carried out and the answer lost, or
    it is answered with 500 or 409. Kubernetes answers reads from the past, and events come late or never. After each
    of these all has to come to be as wanted, with every key where it can be read.

    The last line is a JSON object. Exit status 0 if no key was lost, none was computed twice, and all was as wanted
    after each incident.
    """
    provider = select(kubeconfig=kubeconfig, confirm=ask)
    found_running = provider.running()
    folder = folder or Path(tempfile.mkdtemp(prefix="dask-k8s-crash-sweep-"))
    options = [f"--scheduler-access={scheduler_access}", f"--lanes={lanes}", f"--folder={folder}"]
    command = [sys.executable, "-m", "integration.crash_sweep.sweep", *options, *(["--long"] if long else [])]
    try:
        provider.up()
        image = provider.images().dask
        sys.exit(provider.run([*command, f"--dask-image={image}"]))
    except ProviderError as error:
        raise click.ClickException(str(error)) from error
    finally:
        if not found_running:
            provider.down()


if __name__ == "__main__":
    main(prog_name="python -m integration.crash_sweep")
