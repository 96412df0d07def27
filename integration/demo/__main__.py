"""`python -m integration.demo`: brings a cluster up, runs the scenario on it, and takes it down if it wasn't up."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from integration.cluster.choice import select
from integration.cluster.cli import ask
from integration.cluster.progress import say
from integration.cluster.provider import ProviderError
from integration.demo.scenario import CLUSTER, NAMESPACE


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave the Dask cluster and Kubernetes up, and say how to look around.")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help=f"Use the existing cluster that this file leads to, in the namespace {NAMESPACE}.",
)
def main(keep: bool, kubeconfig: Path | None) -> None:
    """Scale a Dask cluster 4, 8, 3, 1, 5 while it computes, and count what got lost.

    The data is real text: the sources of Python's standard library, as the Dask image has them. The last line is a JSON
    object. Exit status 0 if no key was lost, none was computed twice and every result is right.
    """
    try:
        sys.exit(_run(keep=keep, kubeconfig=kubeconfig))
    except ProviderError as error:
        raise click.ClickException(str(error)) from error


def _run(*, keep: bool, kubeconfig: Path | None) -> int:
    provider = select(kubeconfig=kubeconfig, confirm=ask)
    found_running = provider.running()
    try:
        provider.up()
        images = provider.images()
        scenario = [sys.executable, "-m", "integration.demo.scenario"]
        status = provider.run([*scenario, f"--operator-image={images.operator}", f"--dask-image={images.dask}"])
        if keep:
            _say_how_to_look_around()
        else:
            provider.run(["kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false"])
        return status
    finally:
        if not keep and not found_running:
            provider.down()


def _say_how_to_look_around() -> None:
    inside = "python -m integration.cluster run"
    say(
        f"""
Left as it is. To look around:
  {inside} kubectl --namespace={NAMESPACE} get clusters,pods
  {inside} kubectl --namespace={NAMESPACE} scale clusters/{CLUSTER} --replicas=2
  {inside} curl -s http://{CLUSTER}-scheduler.{NAMESPACE}.svc:8787/status   (the dashboard)
To take it away:
  {inside} kubectl delete namespace {NAMESPACE}
  python -m integration.cluster down"""
    )


if __name__ == "__main__":
    main(prog_name="python -m integration.demo")
