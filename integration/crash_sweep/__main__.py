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
from integration.crash_sweep.scene import Access, usual_access


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--long", is_flag=True, help="Everything that can befall every request, instead of some of each kind.")
@click.option(
    "--scheduler-access",
    type=click.Choice(get_args(Access)),
    help="How the operator reaches the scheduler: direct, as where it is installed, which adds draining and the other "
    "requests to the scheduler's RPC port; proxy, through the API server. By default direct on a local node, else "
    "proxy.",
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
def main(long: bool, scheduler_access: Access | None, lanes: int, folder: Path | None, kubeconfig: Path | None) -> None:
    """Let every request of the operator meet every fault, in the middle of a scale-down that holds data.

    A Dask cluster of three workers is scaled to one, again and again. The operator is killed right before one of its
    requests, to Kubernetes or to the scheduler, or right after it, or while a frozen worker holds it up and more
    workers are to go; the request is carried out and the answer lost, or it is answered with 500 or 409. Kubernetes
    answers reads from the past, and events come late or never. After each of these all has to come to be as wanted,
    with every key where it can be read, and no task may have run twice.

    The last line is a JSON object. Exit status 0 if no key was lost, nothing ran twice, all was as wanted after each
    incident, and at most a tenth of the incidents did not come about or put no key at risk.
    """
    provider = select(kubeconfig=kubeconfig, confirm=ask)
    found_running = provider.running()
    folder = folder or Path(tempfile.mkdtemp(prefix="dask-k8s-crash-sweep-"))
    access = scheduler_access or usual_access(provider)
    options = [f"--scheduler-access={access}", f"--lanes={lanes}", f"--folder={folder}"]
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
