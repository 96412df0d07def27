"""`python -m integration.chaos`: brings a cluster of its own up, runs the soak on it, and takes it down."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from integration.chaos.soak import NAMESPACE
from integration.cluster import hints
from integration.cluster.cli import ask
from integration.cluster.local import Local
from integration.cluster.paths import CLUSTER_VARIABLE, Paths
from integration.cluster.progress import say
from integration.cluster.provider import ProviderError

_CLUSTER = "chaos"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(min=0), default=5, show_default=True, help="How long to go on.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same actions.")
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    help="Where to write what everybody said when something got lost; a new temporary folder where not given.",
)
@click.option("--keep", is_flag=True, help="Leave the cluster up, with all that is in it.")
def main(minutes: float, seed: int, evidence: Path | None, keep: bool) -> None:
    """Hold data and compute on a Dask cluster that is disturbed at random, and count what got lost.

    Workers are scaled from 1 to 8, deleted, evicted, drained and paused, operators killed and deleted, the API server
    is stopped for 10 seconds, the workers' template changed; about four actions a minute. Nothing is done that may lose
    data: no worker is killed outright, and the scheduler stays. After the last action all has to come to rest.

    The last line is a JSON object. Exit status 0 if no key was lost, none was computed twice, every result is right and
    all came to rest.

    Others that use this checkout's cluster would miss its API server, so this brings one of its own up, named "chaos"
    as by DASK_K8S_TEST_CLUSTER=chaos (another one if that is set), and takes it down unless it was up before. It has
    to be a local node: on Linux, as root.
    """
    try:
        sys.exit(_run(minutes=minutes, seed=seed, evidence=evidence, keep=keep))
    except ProviderError as error:
        raise click.ClickException(str(error)) from error


def _run(*, minutes: float, seed: int, evidence: Path | None, keep: bool) -> int:
    os.environ[CLUSTER_VARIABLE] = os.environ.get(CLUSTER_VARIABLE) or _CLUSTER  # for the processes below, too
    provider = Local(Paths.here(), confirm=ask)
    verdict = provider.verdict()
    if not verdict.usable:
        raise ProviderError(f"no local node can be had: {verdict.reason}")
    found_running = provider.running()
    folder = evidence or Path(tempfile.mkdtemp(prefix="dask-k8s-chaos-"))
    try:
        provider.up()
        images = provider.images()
        return provider.run(
            [
                *(sys.executable, "-m", "integration.chaos.soak"),
                *(f"--operator-image={images.operator}", f"--dask-image={images.dask}"),
                *(f"--minutes={minutes}", f"--seed={seed}", f"--evidence={folder}"),
            ]
        )
    finally:
        if keep or found_running:
            say(f"Left as it is: {hints.cluster('run', 'kubectl', f'--namespace={NAMESPACE}', 'get', 'clusters,pods')}")
        else:
            provider.down()


if __name__ == "__main__":
    main(prog_name="python -m integration.chaos")
