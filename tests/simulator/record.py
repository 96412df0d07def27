"""Records what a real Dask scheduler is given and how long that takes.

`python -m tests.simulator.record` makes `recorded.json`.
"""

from __future__ import annotations

import json
import time
from typing import Any

import dask
import dask.array as da
from dask.utils import key_split
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import SchedulerPlugin

from tests.simulator.loads import RECORDED


class Recorder(SchedulerPlugin):  # type: ignore[misc]
    """Notes tasks with their dependencies, durations and sizes."""

    def __init__(self) -> None:
        self.tasks: dict[Any, dict[str, Any]] = {}
        self._scheduler: Any = None

    def follow(self, scheduler: Any) -> None:
        """Note what this scheduler does."""
        self._scheduler = scheduler

    def transition(self, key: Any, start: str, finish: str, *_: Any, **more: Any) -> None:
        """Note a task that was computed."""
        if start == "processing" and finish == "memory":
            state = self._scheduler.tasks[key]
            seconds = sum(s["stop"] - s["start"] for s in more["startstops"] if s["action"] == "compute")
            after = [other.key for other in state.dependencies]
            self.tasks[key] = {"seconds": seconds, "after": after, "size": state.nbytes}


def record() -> list[dict[str, Any]]:
    """Compute a few things that people compute with Dask, with pauses in between."""
    jobs: list[dict[str, Any]] = []
    with (
        dask.config.set({"array.slicing.split-large-chunks": False}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        recorder = Recorder()
        cluster.scheduler.add_plugin(recorder, name="recorder")
        recorder.follow(cluster.scheduler)
        began = time.monotonic()
        for compute in (_factorization, _transposition, _histogram):
            recorder.tasks.clear()
            at = time.monotonic() - began
            client.compute(compute()).result()
            done = time.monotonic() - began
            time.sleep(2)  # as a person looks at the result
            jobs.append({"at": round(at, 2), "held": 2.0, "tasks": _job(recorder.tasks), "took": round(done - at, 2)})
    return jobs


def _factorization() -> Any:
    x = da.random.default_rng(1).random((60_000, 60), chunks=(2_000, 60))
    q, r = da.linalg.qr(x)
    return (q.T @ x.sum(axis=1)).sum() + r.sum()


def _transposition() -> Any:
    x = da.random.default_rng(2).random((6_000, 6_000), chunks=(600, 600))
    return (x + x.T - x.mean(axis=0)).std(axis=1).sum()


def _histogram() -> Any:
    x = da.random.default_rng(3).normal(size=(20_000_000,), chunks=(250_000,))
    return da.histogram(da.sqrt(x * x) + da.sin(x), bins=100, range=(0, 4))[0]


def _job(tasks: dict[Any, dict[str, Any]]) -> list[list[Any]]:
    """The tasks in the order in which they were done, which comes after all that they waited for."""
    places = {key: place for place, key in enumerate(tasks)}
    return [
        [
            key_split(key),
            max(round(task["seconds"], 4), 0.0005),
            sorted(places[other] for other in task["after"] if other in places),
            task["size"],
        ]
        for key, task in tasks.items()
    ]


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), separators=(",", ":")) + "\n", "utf-8")
