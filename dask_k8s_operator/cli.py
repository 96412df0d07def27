"""The command line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from dask_k8s_operator import __version__
from dask_k8s_operator.settings import SchedulerAccess, Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

LAST_SECONDS = 1.0
"""How long what is left at the end may take to end."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "DASK_K8S_OPERATOR"})
@click.version_option(__version__, prog_name="dask-k8s-operator")
def main() -> None:
    """Run Dask clusters on Kubernetes, and retire their workers gracefully: no scale-down loses a key."""


@main.command()
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NS",
    help="Look after the Clusters of this namespace; may be given several times. Default: the kubeconfig's or "
    "pod's own namespace.",
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Look after the Clusters of all namespaces.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="How to reach the API server. Default: the pod's service account, else KUBECONFIG or ~/.kube/config.",
)
@click.option(
    "--scheduler-access",
    type=click.Choice(get_args(SchedulerAccess)),
    default="auto",
    show_default=True,
    help="How to reach Dask schedulers: direct, by their Services' names (works inside the cluster); proxy, through "
    "the API server (works from anywhere); auto, whichever fits where this runs.",
)
@click.option(
    "--health-address",
    default="0.0.0.0:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where /healthz and /readyz are served; port 0 takes a free one.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="How many Clusters are reconciled at a time: more than there may be with a scheduler that doesn't answer.",
)
@click.option(
    "--lease",
    metavar="[NS/]NAME",
    help="Act only while holding this Lease, so that several operators can run and one acts. The namespace defaults "
    "to the kubeconfig's or pod's own.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def run(  # noqa: PLR0917 (click passes them by name)
    namespaces: tuple[str, ...],
    all_namespaces: bool,
    kubeconfig: Path | None,
    scheduler_access: SchedulerAccess,
    health_address: str,
    concurrency: int,
    lease: str | None,
    log_format: str,
    log_level: str,
) -> None:
    """Run the operator until SIGTERM or Ctrl-C.

    Every option can also be set by an environment variable, such as DASK_K8S_OPERATOR_RUN_LOG_FORMAT=json.
    """
    if namespaces and all_namespaces:
        raise click.UsageError("--namespace and --all-namespaces exclude each other: give one of them")
    host, port = _parse_address(health_address)
    _set_up_logging(log_format, log_level)
    if kubeconfig is not None:
        # Both Kubernetes clients have to read the same file, and kopf's knows only the variable.
        os.environ["KUBECONFIG"] = str(kubeconfig)
    # Imported late: the clients read KUBECONFIG as they are imported, and `--help` needs none of them.
    from dask_k8s_operator.clients.connection import default_namespace  # noqa: PLC0415
    from dask_k8s_operator.clients.kubernetes import KubernetesError  # noqa: PLC0415
    from dask_k8s_operator.controller import operator  # noqa: PLC0415

    try:
        own = default_namespace(kubeconfig)
        settings = Settings(
            namespaces=() if all_namespaces else namespaces or (own,),
            kubeconfig=kubeconfig,
            scheduler_access=scheduler_access,
            health_host=host,
            health_port=port,
            concurrency=concurrency,
            lease=_parse_lease(lease, own) if lease else None,
        )
        _run(operator.run(settings))
    except (KubernetesError, OSError) as error:
        click.echo(f"dask-k8s-operator: {error}", err=True)
        sys.exit(1)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, which would wait for tasks that don't end though they are cancelled: watchers of kopf's may."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LAST_SECONDS))
        # What is to be said of the run has been said; of what is left, the interpreter would complain as it ends.
        loop.set_exception_handler(lambda *_: None)
        if all(task.done() for task in left):
            loop.close()


def _parse_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise click.BadParameter(f"{address!r} is not HOST:PORT, such as 0.0.0.0:8080", param_hint="--health-address")
    return host.strip("[]"), int(port)


def _parse_lease(lease: str, own_namespace: str) -> tuple[str, str]:
    namespace, _, name = lease.rpartition("/")
    return namespace or own_namespace, name


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _set_up_logging(log_format: str, log_level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonFormatter()
        if log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=log_level.upper(), handlers=[handler], force=True)
    # These tell every request and every event, which is noise unless somebody asked for it.
    quiet = "warning" if log_level == "info" else log_level
    for name in ("httpx", "httpcore", "kopf", "asyncio"):
        logging.getLogger(name).setLevel(quiet.upper())
