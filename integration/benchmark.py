"""`python -m integration.benchmark`: how long pods take to be made and removed, beside a Deployment's, in one run.

The pods fit no node, so that what is measured is who makes them, and not how fast a kubelet starts Python.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from integration import dask_cluster, operator_process
from integration.kube import CLUSTERS, Kube, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "bench"
NOWHERE = {"nodeSelector": {"dask.charmtx.com/benchmark": "no-node-has-this"}}
IMAGE = "no-image-is-needed"
SELECTORS = {"Deployment": f"app={NAME}", "Cluster": f"dask.charmtx.com/cluster={NAME},dask.charmtx.com/role=worker"}
OBJECTS = {"Deployment": f"deployments/{NAME}", "Cluster": f"{CLUSTERS}/{NAME}"}
SECONDS = 120.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--workers", type=click.IntRange(min=1), default=100, show_default=True, help="How many pods.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often; medians are told.")
def main(workers: int, rounds: int) -> None:
    """Scale a Cluster and a Deployment of the same pods up and down, and compare.

    Runs where the cluster can be reached: `python -m integration.cluster run python -m integration.benchmark`. The last
    line is a JSON object with the medians in seconds.
    """
    kube = Kube(f"bench-{secrets.token_hex(3)}")
    kube.create_namespace()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),  # the operator's log, which tests show
            operator_process.running(kube, Path(folder), operator_process.best_access()),
        ):
            medians = _compare(kube, workers=workers, rounds=rounds)
        click.echo(json.dumps({"workers": workers, "rounds": rounds, **medians}))
    finally:
        kube.delete_namespace(wait=False)


def _compare(kube: Kube, *, workers: int, rounds: int) -> dict[str, float]:
    cluster = dask_cluster.manifest(NAME, IMAGE, replicas=0, worker=NOWHERE, scheduler=NOWHERE)
    kube.apply(cluster)
    kube.wait("the Cluster has a status", lambda objects: "status" in (objects.find("Cluster", NAME) or {}))
    kube.apply(_deployment(cluster["spec"]["workers"]["template"]))
    taken: dict[str, list[float]] = {}
    for number in range(1, rounds + 1):
        for kind in OBJECTS:
            for what, replicas in (("create", workers), ("remove", 0)):
                seconds = _time(kube, kind, replicas)
                taken.setdefault(f"{kind}_{what}_seconds", []).append(seconds)
                click.echo(f"round {number}: {kind}: {what} {workers} pods: {seconds:.2f} s", err=True)
    return {title: round(statistics.median(values), 2) for title, values in taken.items()}


def _time(kube: Kube, kind: str, replicas: int) -> float:
    begun = time.monotonic()
    kube.run("scale", OBJECTS[kind], f"--replicas={replicas}")
    _until(lambda: _count(kube, kind) == replicas, f"{kind}: {replicas} pods")
    return time.monotonic() - begun


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException(f"after {SECONDS:g} s still not so: {what}")


def _count(kube: Kube, kind: str) -> int:
    return len(kube.run("get", "pods", f"--selector={SELECTORS[kind]}", "--output=name").splitlines())


def _deployment(template: Manifest) -> Manifest:
    labels = {"app": NAME}
    (container,) = template["spec"]["containers"]
    spec = {**template["spec"], "containers": [{**container, "image": IMAGE}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


if __name__ == "__main__":
    main(prog_name="python -m integration.benchmark")
