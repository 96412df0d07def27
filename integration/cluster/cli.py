"""The command line: one disposable Kubernetes cluster for tests and demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from integration.cluster import forward, hints
from integration.cluster.choice import select
from integration.cluster.components import components
from integration.cluster.paths import CLUSTER_VARIABLE, KUBECONFIG_VARIABLE, Paths
from integration.cluster.progress import say, step
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP = f"""Manage one disposable Kubernetes cluster for the tests and the demo of this checkout.

Who provides it: an existing cluster where --kubeconfig or {KUBECONFIG_VARIABLE} asks for one; else k3s, where a Docker
daemon can run it; else a local node, on Linux with root. Whatever that needs is installed, after asking on a terminal.

Each checkout has a cluster of its own; {CLUSTER_VARIABLE}=NAME makes and uses a further one.
"""


class _Commands(click.Group):
    """Shows the errors that are meant for the user without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ProviderError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Use the existing cluster that this file leads to, in namespaces of our own.",
)
@click.pass_context
def main(context: click.Context, kubeconfig: Path | None) -> None:
    """See `_HELP`."""
    context.obj = kubeconfig


@main.command()
@click.option("--yes", is_flag=True, help="Install and build what is needed without asking.")
@click.pass_obj
def up(kubeconfig: Path | None, yes: bool) -> None:
    """Bring the cluster up, build both images where they changed, and load them."""
    provider = select(kubeconfig=kubeconfig, confirm=_announce if yes else ask)
    with step("Cluster and images"):
        provider.up()
        images = provider.images()
    say(f"operator image: {images.operator}")
    say(f"Dask image: {images.dask}")
    say(f"Try: {hints.cluster('run', 'kubectl', 'get', 'nodes', kubeconfig=kubeconfig)}")


@main.command()
@click.pass_obj
def down(kubeconfig: Path | None) -> None:
    """Take away everything that `up` made; the cache of built things stays."""
    provider = select(kubeconfig=kubeconfig)
    with step("Taking the cluster down"):
        provider.down()


@main.command()
@click.pass_obj
def status(kubeconfig: Path | None) -> None:
    """Say whether the cluster is up; exit status 0 where it is, 1 where not."""
    provider = select(kubeconfig=kubeconfig)
    running = provider.running()
    click.echo(f"{provider.name}: {'up' if running else 'not up'}")
    if provider.name == "local":
        for component in components().values():
            last = f", last ended: {component.last_exit}" if component.last_exit else ""
            click.echo(f"  {component.name}: {component.state}, started {component.starts} times{last}")
        click.echo(f"  logs: {Paths.here().node / 'logs'}")
    sys.exit(0 if running else 1)


@main.command("kubeconfig")
@click.pass_obj
def kubeconfig_command(kubeconfig: Path | None) -> None:
    """Print the path of the cluster's kubeconfig (a local node is reached from within `run` alone)."""
    click.echo(select(kubeconfig=kubeconfig).kubeconfig())


@main.command()
@click.argument("image")
@click.pass_obj
def load(kubeconfig: Path | None, image: str) -> None:
    """Load IMAGE, a name that the local builder knows or the path of a docker archive."""
    provider = select(kubeconfig=kubeconfig)
    with step(f"Loading {image}"):
        provider.load(image)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(kubeconfig: Path | None, command: Sequence[str]) -> None:
    """Run COMMAND with KUBECONFIG set and the cluster's network and DNS reachable; passes its exit status on."""
    sys.exit(select(kubeconfig=kubeconfig).run(command))


@main.command("forward")
@click.option("--namespace", default="default", show_default=True, help="The namespace of SERVICE.")
@click.argument("service")
@click.argument("port", type=int)
@click.pass_obj
def forward_command(kubeconfig: Path | None, namespace: str, service: str, port: int) -> None:
    """Make PORT of SERVICE reachable on this machine, for a browser, say, until Ctrl-C."""
    provider = select(kubeconfig=kubeconfig)
    sys.exit(forward.forward(provider, namespace=namespace, service=service, port=port))


def ask(plans: Sequence[str]) -> bool:
    """Say what will be done and, on a terminal, ask whether to go ahead."""
    _announce(plans)
    return click.confirm("Go ahead?", default=True, err=True) if sys.stdin.isatty() else True


def _announce(plans: Sequence[str]) -> bool:
    say("This will:")
    for line in plans:
        say(f"  - {line}")
    return True
