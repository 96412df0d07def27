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
from integration.cluster.provider import ProviderError
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

FEWEST_ACTIONS = 2.5
"""A minute, on average."""

MOST_REFUSED = 0.25
"""Of the actions: how many may be followed by the scheduler's refusal to take data."""

LATELY = timedelta(seconds=60)
SHOWN_KEYS = 10


@dataclass(frozen=True)
class Report:
    """The last line.

    Attributes:
        seed: that of the actions.
        minutes: how long actions were to go on.
        actions: how many there were.
        lost_keys: scattered keys that are gone for ever.
        recomputed_keys: keys that were or have to be computed again.
        wrong_results: keys whose value changed, and queries that were answered wrongly.
        converged: whether all came to be as wanted after the last action.
        settling_seconds: how long that took.
        slow_pods: pods that took long to end.
        held_keys: keys that were read back the last time.
        answers: queries that were answered.
        refused_scatters: how often the scheduler refused data.
        actions_by_kind: how many of each kind.
        evidence: files.
        cut_short_by: what ended the soak before its time; empty if nothing did.
    """

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
    cut_short_by: str = ""

    @property
    def success(self) -> bool:
        """Whether nothing was lost, computed twice or wrong, all came to rest, and enough was done to prove it."""
        intact = (self.lost_keys, self.recomputed_keys, self.wrong_results, self.cut_short_by) == (0, 0, 0, "")
        disturbed = self.actions >= FEWEST_ACTIONS * self.minutes and self.answers >= self.actions
        return intact and self.converged and disturbed and self.refused_scatters <= MOST_REFUSED * self.actions


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
        self.held = self.answers = 0
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
        progress = self._agent.progress()
        self.answers, wrong = progress.answers, progress.wrong
        if wrong > self._wrong_answers:
            self.write_down(f"after {after}: {wrong - self._wrong_answers} queries were answered wrongly")
            self._wrong_answers = wrong

    def _where(self, keys: list[str]) -> str:
        shown = [f"{key} (last in {', '.join(self._holders.get(key, ())) or 'nobody'})" for key in keys[:SHOWN_KEYS]]
        return ", ".join(shown) + (", ..." if len(keys) > SHOWN_KEYS else "")


_TROUBLE = (KubectlError, TooLate, AgentError, ProviderError, OSError)
"""What a soak can't go on after."""


@click.command()
@click.option("--operator-image", required=True, help="The operator's image, present on the node.")
@click.option("--dask-image", required=True, help="The image of scheduler, workers and client, present on the node.")
@click.option("--minutes", type=float, required=True)
@click.option("--seed", type=int, required=True)
@click.option("--evidence", "folder", type=click.Path(path_type=Path), required=True)
def main(operator_image: str, dask_image: str, minutes: float, seed: int, folder: Path) -> None:
    """Disturb a Dask cluster and print a timeline and the report."""
    kube, paths, soak = Kube(NAMESPACE), Paths.here(), Soak(minutes=minutes, seed=seed)
    try:
        kube.delete_namespace(wait=True)  # of an earlier run
        kube.create_namespace()
        with evidence.LogKeeper(paths.node / "pods", NAMESPACE, paths.node / "kept-logs") as keeper:
            soak.run(kube, operator_image, dask_image, keeper, folder)
    except _TROUBLE as error:  # what there is to report by then may be the work of an hour
        print(error, file=sys.stderr)
        print(kube.diagnosis(), file=sys.stderr)
        soak.cut_short(error)
    report = soak.report()
    print(json.dumps(asdict(report)))
    sys.exit(0 if report.success else 1)


class Soak:
    """One run from its beginning to its end, wherever that is."""

    def __init__(self, *, minutes: float, seed: int) -> None:
        """Prepare.

        Args:
            minutes: how long actions are to go on.
            seed: that of the actions.
        """
        self._minutes, self._seed = minutes, seed
        self._timeline = Timeline()
        self._watch: Watch | None = None
        self._done: Counter[str] = Counter()
        self._refused = 0
        self._miscounted = False
        self._settling = 0.0
        self._converged = False
        self._cut_short_by = ""

    def run(self, kube: Kube, operator_image: str, dask_image: str, keeper: evidence.LogKeeper, folder: Path) -> None:
        """Build a Dask cluster in the namespace, disturb it, and wait until it has come to rest."""
        timeline = self._timeline
        timeline.say(f"seed {self._seed}, {self._minutes:g} minutes")
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
            self._watch = watch = Watch(agent, kube, keeper, folder, timeline)
            faults = Faults(cluster, node=NODE, replicas=START)
            last = self._disturb(cluster, agent, watch, faults)
            self._settle(cluster, agent, watch, faults, last)

    def cut_short(self, error: Exception) -> None:
        """Note what ended the soak before its time."""
        self._cut_short_by = (str(error) or repr(error)).splitlines()[0]
        self._converged = False
        if self._watch is not None:
            self._watch.write_down(f"cut short by {self._cut_short_by}")

    def report(self) -> Report:
        """What it came to, so far."""
        watch = self._watch
        return Report(
            seed=self._seed,
            minutes=self._minutes,
            actions=self._done.total(),
            lost_keys=watch.count("lost") if watch else 0,
            recomputed_keys=watch.count("recomputed") if watch else 0,
            wrong_results=(watch.count("wrong") if watch else 0) + self._miscounted,
            converged=self._converged,
            settling_seconds=self._settling,
            slow_pods=watch.count("slow") if watch else 0,
            held_keys=watch.held if watch else 0,
            answers=watch.answers if watch else 0,
            refused_scatters=self._refused,
            actions_by_kind=dict(sorted(self._done.items())),
            evidence=watch.files if watch else [],
            cut_short_by=self._cut_short_by,
        )

    def _disturb(self, cluster: DaskCluster, agent: Agent, watch: Watch, faults: Faults) -> str:
        """Carry out actions until the time is over; gives the last one in words."""
        timeline = self._timeline
        end, last = time.monotonic() + self._minutes * 60, "the beginning"
        for action in actions(self._seed):
            time.sleep(max(min(action.wait, end - time.monotonic()), 0))
            watch.look(last)
            if time.monotonic() >= end:
                break
            timeline.say(f"{action.number:4}  {action.fault}")
            told = faults.do(action.fault)
            last = f"action {action.number}, {told}"
            self._done[type(action.fault).__name__] += 1
            timeline.say(f"      {told}")
            watch.look(last)
            watch.look_at_pods(cluster.workers(), last)
            if not faults.pausing:
                self._refused += not _hold_more(agent, timeline)
                watch.read_now_and_then(last)
        return last

    def _settle(self, cluster: DaskCluster, agent: Agent, watch: Watch, faults: Faults, last: str) -> None:
        """Wait until all has come to rest, and read everything back."""
        faults.calm()
        self._timeline.say(f"no more actions: {faults.replicas} workers are to be there")
        began = time.monotonic()
        self._converged = _converges(cluster, agent, watch, faults.replicas)
        self._settling = round(time.monotonic() - began, 1)
        self._timeline.say(f"{'at rest' if self._converged else 'NOT at rest'} after {self._settling} s")
        agent.stop()
        watch.read(last)
        self._miscounted = not agent.total().equal
        self._timeline.say(f"{watch.held} keys read back; {watch.answers} queries were answered")


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
