"""`python -m integration.demo`: brings a cluster up, runs the scenario on it, and takes it down if it wasn't up."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from integration.cluster import hints
from integration.cluster.choice import select
from integration.cluster.cli import ask
from integration.cluster.paths import Paths
from integration.cluster.progress import say
from integration.cluster.provider import ProviderError
from integration.demo.scenario import CLUSTER

if TYPE_CHECKING:
    from integration.cluster.provider import Provider


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave the Dask cluster and Kubernetes up, and say how to look around.")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Use the existing cluster that this file leads to, in a namespace of the demo's own.",
)
def main(keep: bool, kubeconfig: Path | None) -> None:
    """Scale a Dask cluster 4, 8, 3, 1, 5 while it computes, and count what got lost.

    The data is real text: the sources of Python's standard library, as the Dask image has them. The last line is a JSON
    object. Exit status 0 if every worker had data, no key was lost, none was computed twice and every result is right.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        try:
            status = _run(keep=keep, kubeconfig=kubeconfig, report=report)
        except ProviderError as error:
            raise click.ClickException(str(error)) from error
        finally:
            # Here, so that nothing is printed after it by anybody.
            if report.exists():
                click.echo(report.read_text())
    sys.exit(status)


def namespace() -> str:
    """The demo's namespace: another one for each checkout, as they may share an existing cluster."""
    return f"dask-demo-{Paths.here().key}"


def _run(*, keep: bool, kubeconfig: Path | None, report: Path) -> int:
    provider = select(kubeconfig=kubeconfig, confirm=ask)
    found_running = provider.running()
    try:
        provider.up()
        status = _scenario(provider, keep=keep, report=report)
        if keep:
            _say_how_to_look_around(kubeconfig)
        return status
    finally:
        if not keep and not found_running:
            provider.down()


def _scenario(provider: Provider, *, keep: bool, report: Path) -> int:
    images = provider.images()
    return provider.run(
        [
            *(sys.executable, "-m", "integration.demo.scenario"),
            *(f"--operator-image={images.operator}", f"--dask-image={images.dask}"),
            *(f"--namespace={namespace()}", f"--report={report}", *(["--keep"] if keep else [])),
        ]
    )


def _say_how_to_look_around(kubeconfig: Path | None) -> None:
    def command(*words: str) -> str:
        return hints.cluster(*words, kubeconfig=kubeconfig)

    inside = ("run", "kubectl", f"--namespace={namespace()}")
    say(
        f"""
Left as it is. To look around:
  {command(*inside, "get", "clusters,pods")}
  {command(*inside, "scale", f"clusters/{CLUSTER}", "--replicas=2")}
For Dask's dashboard at http://localhost:8787/status, while this runs:
  {command("forward", f"--namespace={namespace()}", f"{CLUSTER}-scheduler", "8787")}
To take it away:
  {command("run", "kubectl", "delete", "namespace", namespace())}
  {command("down")}"""
    )


if __name__ == "__main__":
    main(prog_name=f"{hints.nox('demo')} --")
