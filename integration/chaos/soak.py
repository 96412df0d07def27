"""The soak itself, run where the cluster's API server can be reached: KUBECONFIG says where that is."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from integration.agent.client import AgentError
from integration.chaos import evidence
from integration.chaos.faults import Faults
from integration.chaos.plan import actions
from integration.chaos.processes import container_id, describe
from integration.cluster.node_plan import NODE
from integration.cluster.paths import Paths
from integration.dask_cluster import apply_example, install_operator
from integration.kube import Kube, KubectlError, TooLate
from integration.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from integration.agent.client import Agent
    from integration.dask_cluster import DaskCluster
    from integration.kube import Manifest

NAMESPACE = "dask-chaos"
OPERATORS = 2
START = 3
PARTITIONS = 16
AT_FIRST = 60
"""Keys of each kind, scattered and computed, that are held from the beginning."""

BY_AND_BY = 2
"""Further ones of each kind after each action: in the midst of what it set off."""

READ_SECONDS = 60.0
"""From one time that all values are read back to the next; who holds them is looked at after each action."""

SETTLING_SECONDS = 420.0
"""Longer than a pod's grace period (300 s)."""

SLOW = timedelta(seconds=60)
"""A pod that ends for longer is worth a look: handing over takes seconds here, a pause 20 s at the longest."""

LATELY = timedelta(seconds=60)
SHOWN_KEYS = 10


@dataclass(frozen=True)
class Report:
    """The last line."""

    seed: int
    minutes: float
    actions: int
    lost_keys: int
    recomputed_keys: int
    wrong_results: int
    converged: bool
    settling_seconds: float
    slow_pods: int
    held_keys: int
    answers: int
    refused_scatters: int
    actions_by_kind: dict[str, int]
    evidence: list[str]

    @property
    def success(self) -> bool:
        """Whether nothing was lost, computed twice or wrong, and all came to rest as wanted."""
        return (self.lost_keys, self.recomputed_keys, self.wrong_results, self.converged) == (0, 0, 0, True)


class Watch:
    """Finds out what went wrong, once for each thing, and which action it came after."""

    def __init__(self, agent: Agent, kube: Kube, keeper: evidence.LogKeeper, folder: Path, timeline: Timeline) -> None:
        """Watch what an agent holds; the evidence goes into the folder."""
        self._agent = agent
        self._kube = kube
        self._keeper = keeper
        self._folder = folder
        self._timeline = timeline
        self._seen: dict[str, set[str]] = {what: set() for what in ("lost", "recomputed", "wrong", "slow")}
        self._holders: dict[str, tuple[str, ...]] = {}
        self._wrong_answers = 0
        self._read = time.monotonic()
        self.held = 0
        self.files: list[str] = []

    def count(self, what: str) -> int:
        """How many keys are `lost`, `recomputed` or `wrong`; answers to queries that were wrong among the last."""
        return len(self._seen[what]) + (self._wrong_answers if what == "wrong" else 0)

    def look(self, after: str) -> None:
        """See what is gone, by what the scheduler knows."""
        found = self._agent.look()
        self._note(after, lost=found.lost, recomputed=found.recomputed)
        self._holders = found.holders
        self._check_answers(after)

    def look_at_pods(self, pods: Iterable[Manifest], after: str) -> None:
        """See which pods take long to end, and what their processes are doing."""
        for pod in pods:
            name, seconds = pod["metadata"]["name"], _ending_for(pod)
            if seconds > SLOW.total_seconds() and name not in self._seen["slow"]:
                self._seen["slow"].add(name)
                container = container_id(pod)
                doing = describe(container) if container else "its container doesn't run"
                title = f"after {after}: {name} has been ending for {seconds:.0f} s"
                self.write_down(title, more=doing, last=timedelta(seconds=seconds) + LATELY)

    def read_now_and_then(self, after: str) -> None:
        """Read everything back where that was not done for a while."""
        if time.monotonic() > self._read + READ_SECONDS:
            self.read(after)

    def read(self, after: str) -> None:
        """Read everything back."""
        audit = self._agent.audit()
        self._note(after, lost=audit.lost, recomputed=audit.recomputed, wrong=audit.wrong)
        self._check_answers(after)
        self.held, self._read = audit.held, time.monotonic()

    def write_down(self, title: str, *, more: str = "", last: timedelta = LATELY) -> None:
        """Say that something is wrong, and keep what everybody said lately in a file."""
        file = self._folder / f"{len(self.files) + 1}.txt"
        diagnosis = f"{more}\n{self._kube.diagnosis()}"
        evidence.write(file, title=title, keeper=self._keeper, last=last, diagnosis=diagnosis)
        self.files.append(str(file))
        self._timeline.say(f"!! {title}\n            {file}")

    def _note(self, after: str, **kinds: Iterable[str]) -> None:
        news = {what: sorted(set(keys) - self._seen[what]) for what, keys in kinds.items()}
        for what, keys in news.items():
            self._seen[what].update(keys)
        if any(news.values()):
            told = "; ".join(f"{len(keys)} {what}: {self._where(keys)}" for what, keys in news.items() if keys)
            self.write_down(f"after {after}: {told}")

    def _check_answers(self, after: str) -> None:
        wrong = self._agent.progress().wrong
        if wrong > self._wrong_answers:
            self.write_down(f"after {after}: {wrong - self._wrong_answers} queries were answered wrongly")
            self._wrong_answers = wrong

    def _where(self, keys: list[str]) -> str:
        shown = [f"{key} (last in {', '.join(self._holders.get(key, ())) or 'nobody'})" for key in keys[:SHOWN_KEYS]]
        return ", ".join(shown) + (", ..." if len(keys) > SHOWN_KEYS else "")


@click.command()
@click.option("--operator-image", required=True, help="The operator's image, present on the node.")
@click.option("--dask-image", required=True, help="The image of scheduler, workers and client, present on the node.")
@click.option("--minutes", type=float, required=True)
@click.option("--seed", type=int, required=True)
@click.option("--evidence", "folder", type=click.Path(path_type=Path), required=True)
def main(operator_image: str, dask_image: str, minutes: float, seed: int, folder: Path) -> None:
    """Disturb a Dask cluster and print a timeline and the report."""
    kube, paths = Kube(NAMESPACE), Paths.here()
    try:
        kube.delete_namespace(wait=True)  # of an earlier run
        kube.create_namespace()
        with evidence.LogKeeper(paths.node / "pods", NAMESPACE, paths.node / "kept-logs") as keeper:
            report = _run(kube, operator_image, dask_image, minutes=minutes, seed=seed, keeper=keeper, folder=folder)
    except (KubectlError, TooLate, AgentError) as error:
        print(error, file=sys.stderr)
        print(kube.diagnosis(), file=sys.stderr)
        sys.exit(1)
    print(json.dumps(asdict(report)))
    sys.exit(0 if report.success else 1)


def _run(
    kube: Kube,
    operator_image: str,
    dask_image: str,
    *,
    minutes: float,
    seed: int,
    keeper: evidence.LogKeeper,
    folder: Path,
) -> Report:
    timeline = Timeline()
    timeline.say(f"seed {seed}, {minutes:g} minutes")
    install_operator(kube, operator_image, replicas=OPERATORS)
    cluster = apply_example(kube, dask_image, replicas=START)
    cluster.wait_settled(START)
    timeline.say(f"{OPERATORS} operators run, and the Cluster {cluster.name} of example/ has {START} workers")
    with cluster.client(dask_image) as agent:
        agent.wait_for_workers(START)
        agent.hold(scattered=AT_FIRST, computed=AT_FIRST)
        held = agent.persist(partitions=PARTITIONS)
        agent.start()
        timeline.say(f"{held['scattered']} scattered and {held['computed']} computed keys are held; queries run")
        watch = Watch(agent, kube, keeper, folder, timeline)
        return _disturb(cluster, agent, watch, timeline, minutes=minutes, seed=seed)


def _disturb(
    cluster: DaskCluster, agent: Agent, watch: Watch, timeline: Timeline, *, minutes: float, seed: int
) -> Report:
    faults = Faults(cluster, node=NODE, replicas=START)
    end, last = time.monotonic() + minutes * 60, "the beginning"
    done: Counter[str] = Counter()
    refused = 0
    for action in actions(seed):
        time.sleep(max(min(action.wait, end - time.monotonic()), 0))
        watch.look(last)
        if time.monotonic() >= end:
            break
        timeline.say(f"{action.number:4}  {action.fault}")
        told = faults.do(action.fault)
        last = f"action {action.number}, {told}"
        done[type(action.fault).__name__] += 1
        timeline.say(f"      {told}")
        watch.look(last)
        watch.look_at_pods(cluster.workers(), last)
        if not faults.pausing:
            refused += not _hold_more(agent, timeline)
            watch.read_now_and_then(last)
    faults.calm()
    timeline.say(f"no more actions: {faults.replicas} workers are to be there")
    began = time.monotonic()
    converged = _converges(cluster, agent, watch, faults.replicas)
    settling = round(time.monotonic() - began, 1)
    timeline.say(f"{'at rest' if converged else 'NOT at rest'} after {settling} s")
    progress = agent.stop()
    watch.read(last)
    timeline.say(f"{watch.held} keys read back; {progress.answers} queries were answered")
    return Report(
        seed=seed,
        minutes=minutes,
        actions=done.total(),
        lost_keys=watch.count("lost"),
        recomputed_keys=watch.count("recomputed"),
        wrong_results=watch.count("wrong") + (not agent.total().equal),
        converged=converged,
        settling_seconds=settling,
        slow_pods=watch.count("slow"),
        held_keys=watch.held,
        answers=progress.answers,
        refused_scatters=refused,
        actions_by_kind=dict(sorted(done.items())),
        evidence=watch.files,
    )


def _ending_for(pod: Manifest) -> float:
    """For how many seconds a pod has been ending: it is to be gone at its deletionTimestamp."""
    deadline = pod["metadata"].get("deletionTimestamp")
    if deadline is None:
        return 0.0
    grace = timedelta(seconds=pod["metadata"]["deletionGracePeriodSeconds"])
    return (datetime.now(UTC) - (datetime.fromisoformat(deadline) - grace)).total_seconds()


def _hold_more(agent: Agent, timeline: Timeline) -> bool:
    """Hold some more; gives whether the scheduler took it."""
    try:
        agent.hold(scattered=BY_AND_BY, computed=BY_AND_BY)
    except AgentError as error:
        # A worker that leaves while data is sent to it: the client is told, so nothing of it counts as held.
        timeline.say(f"      not scattered: {error}")
        return False
    return True


def _converges(cluster: DaskCluster, agent: Agent, watch: Watch, replicas: int) -> bool:
    """Whether, left alone, all is soon as wanted: pods, status, scheduler; and queries are answered."""
    try:
        cluster.wait_settled(replicas, timeout=SETTLING_SECONDS)
        agent.wait_for_workers(replicas)
        agent.wait_for_answers(agent.progress().answers + 1)
    except (TooLate, AgentError) as error:
        watch.write_down(f"not as wanted, {replicas} workers: {str(error).splitlines()[0]}")
        return False
    return True


if __name__ == "__main__":
    main()
