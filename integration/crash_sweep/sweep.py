"""The sweep itself, run where the cluster's API server can be reached: KUBECONFIG says where that is."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from integration.agent.client import AgentError
from integration.crash_sweep import scene
from integration.crash_sweep.incidents import Calm, Incident, Start, all_incidents, sample
from integration.crash_sweep.report import Report, Tally
from integration.crash_sweep.scene import Access
from integration.kube import Kube, KubectlError, TooLate
from integration.session import Session
from integration.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from integration.crash_sweep.kinds import Request

NAMESPACE = "dask-crash-sweep"

CALM_RUNS = 2
"""One has some requests that another hasn't: how often the operator looks depends on when pods tell of themselves."""


class CalmRunFailed(Exception):
    """Something is wrong though nothing happens; the message says what."""


def sweep(
    lanes: Sequence[Kube],
    image: str,
    folder: Path,
    choose: Callable[[Calm], Sequence[Incident]],
    *,
    access: Access,
) -> Report:
    """Play calm runs, then the incidents.

    Args:
        lanes: namespaces in which Clusters can be made, and no operator runs: one for each that is to play at a time.
        image: of Dask.
        folder: where logs and evidence go.
        choose: gives the incidents for the requests of the calm runs, in the order in which they are to be played.
        access: how operators reach schedulers.

    Raises:
        CalmRunFailed: a calm run went wrong.
    """
    timeline = Timeline()
    setting = _Setting(image, access)
    calm = _calm_runs(lanes[0], setting, folder / "calm")
    incidents = choose(calm)
    requests = len({*calm.requests, *calm.starting})
    timeline.say(f"{requests} requests in calm runs; {len(incidents)} incidents to play")
    tally = Tally(folder / "evidence", timeline)
    todo = Todo(incidents)
    with ThreadPoolExecutor(len(lanes)) as pool:
        played = [pool.submit(_play, kube, setting, folder / f"lane-{n}", todo, tally) for n, kube in enumerate(lanes)]
    for one in played:
        one.result()
    return tally.report(requests=requests)


@contextmanager
def side_by_side(name: str, lanes: int) -> Iterator[list[Kube]]:
    """Namespaces for so many incidents at a time, which are deleted at the end: `name`-0, `name`-1 and so on."""
    kubes = [Kube(f"{name}-{lane}") for lane in range(lanes)]
    try:
        for kube in kubes:
            kube.create_namespace()
        yield kubes
    finally:
        for kube in kubes:
            kube.delete_namespace(wait=False)


@dataclass(frozen=True)
class _Setting:
    image: str
    access: Access

    def built(self, kube: Kube, name: str, folder: Path) -> AbstractContextManager[scene.Scene]:
        return scene.built(kube, self.image, name, folder, self.access)


class Todo:
    """The incidents that are still to be played; for several threads.

    Attributes:
        count: how many there were to be played.
    """

    def __init__(self, incidents: Sequence[Incident]) -> None:
        """Begin with all of them."""
        self._left = deque(incidents)
        self._lock = threading.Lock()
        self._again: set[Incident] = set()
        self.count = len(incidents)

    def take(self) -> Incident | None:
        """The next one; None where none is left."""
        with self._lock:
            return self._left.popleft() if self._left else None

    def put_off(self, incident: Incident) -> bool:
        """Have an incident played once more, at the end; gives whether that is so: never a third time."""
        with self._lock:
            if incident in self._again:
                return False
            self._again.add(incident)
            self._left.append(incident)
            return True


def _calm_runs(kube: Kube, setting: _Setting, folder: Path) -> Calm:
    try:
        with setting.built(kube, "calm", folder) as stage:
            requests = {request: None for _ in range(CALM_RUNS) for request in _requests(stage, None)}
            return Calm(tuple(requests), starting=tuple(_requests(stage, Start())))
    except (TooLate, AgentError, KubectlError) as error:
        raise CalmRunFailed(str(error)) from error


def _requests(stage: scene.Scene, calm: Start | None) -> list[Request]:
    outcome = stage.play(calm)
    if not outcome.good or not outcome.at_risk:
        raise CalmRunFailed(f"{outcome}\n{outcome.log}")
    return [one.request for one in outcome.run.seen]


def _play(kube: Kube, setting: _Setting, folder: Path, todo: Todo, tally: Tally) -> None:
    """Play incidents, in one scene as long as all is well: what has seen a loss would tell of it again."""
    scenes = count()
    incident = todo.take()
    while incident is not None:
        number = next(scenes)
        before = None
        with setting.built(kube, f"dask-{number}", folder / str(number)) as stage:
            good = True
            while good and incident is not None:
                good = _play_one(stage, incident, before, todo, tally)
                before, incident = incident, todo.take()


def _play_one(stage: scene.Scene, incident: Incident, before: Incident | None, todo: Todo, tally: Tally) -> bool:
    try:
        outcome = stage.play(incident)
    except (TooLate, AgentError, KubectlError) as error:
        tally.broke(incident, before, error)
        return False
    if outcome.good and not outcome.met and todo.put_off(incident):
        tally.put_off(outcome)
    else:
        tally.note(outcome, of=todo.count)
    return outcome.good


@click.command()
@click.option("--dask-image", required=True, help="The image of scheduler, workers and client, present on the nodes.")
@click.option("--long", is_flag=True)
@click.option("--scheduler-access", "access", type=click.Choice(get_args(Access)), required=True)
@click.option("--lanes", type=int, required=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True)
def main(dask_image: str, long: bool, access: Access, lanes: int, folder: Path) -> None:
    """Play incidents and print a line for each, and the report."""
    session = Session.begin()
    session.define()
    session.end()
    # Never the same again: that of an earlier sweep may take minutes to be gone.
    try:
        with side_by_side(f"{NAMESPACE}-{secrets.token_hex(2)}", lanes) as kubes:
            report = sweep(kubes, dask_image, folder, all_incidents if long else sample, access=access)
    except CalmRunFailed as error:
        print(f"the calm run failed: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(report.as_json()))
    sys.exit(0 if report.success else 1)


if __name__ == "__main__":
    main()
