"""The demo's scenario, run where the cluster's API server can be reached: KUBECONFIG says where that is."""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from integration.agent.client import AgentError
from integration.dask_cluster import DaskCluster, apply_example, install_operator
from integration.kube import Kube, KubectlError, NotOurs, TooLate
from integration.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from integration.agent.client import Agent

CLUSTER = "example-dask"
START = 4
STEPS = (8, 3, 1, 5)

PARTITIONS = 32
SCATTERED = 60
ANSWERS_BETWEEN_STEPS = 2
"""Queries answered before each step: it then comes in the midst of work."""

SHOWN_KEYS = 10


@dataclass(frozen=True)
class Step:
    """One `kubectl scale`, and the seconds until all of it was done: pods, scheduler and status agree."""

    before: int
    after: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """The last line of the demo.

    `spread_over` is how many of the workers that there are at first hold partitions of the data.
    """

    lost_keys: int
    recomputed_keys: int
    results_equal: bool
    spread_over: int
    scale_up_seconds: float
    scale_down_seconds: float
    held_keys: int
    answers: int
    wrong_answers: int
    steps: tuple[Step, ...]

    @property
    def success(self) -> bool:
        """Whether each worker had data, nothing was lost, nothing computed twice and everything right."""
        return (self.lost_keys, self.recomputed_keys, self.results_equal, self.spread_over) == (0, 0, True, START)


@click.command()
@click.option("--operator-image", required=True, help="The operator's image, present on the nodes.")
@click.option("--dask-image", required=True, help="The image of scheduler, workers and client, present on the nodes.")
@click.option("--namespace", required=True, help="The namespace to do all this in; one of an earlier run goes first.")
@click.option("--keep", is_flag=True, help="Leave the namespace with all that is in it.")
@click.option(
    "--report",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write the report to, a JSON object, where the scenario could be carried through.",
)
def main(operator_image: str, dask_image: str, namespace: str, keep: bool, file: Path) -> None:
    """Run the scenario, print its timeline and write its report; exit status 0 if that is as it should be."""
    kube = Kube(namespace)
    try:
        kube.delete_namespace(wait=True)
        kube.create_namespace()
    except (NotOurs, KubectlError) as error:
        raise click.ClickException(str(error)) from error
    try:
        report = run(kube, operator_image, dask_image)
    except (KubectlError, TooLate, AgentError) as error:
        print(error, file=sys.stderr)
        print(kube.diagnosis(), file=sys.stderr)
        sys.exit(1)
    finally:
        if not keep:
            kube.delete_namespace(wait=False)
    file.write_text(json.dumps(asdict(report)))
    sys.exit(0 if report.success else 1)


def run(kube: Kube, operator_image: str, dask_image: str) -> Report:
    """Install, compute, scale and look what became of everything.

    Raises:
        KubectlError, TooLate, AgentError: it could not be carried through.
    """
    timeline = Timeline()
    install_operator(kube, operator_image)
    timeline.say(f"the operator runs in the namespace {kube.namespace}, installed by kubectl apply -k from deploy/")
    cluster = apply_example(kube, dask_image, replicas=START)
    cluster.wait_settled(START)
    timeline.say(f"the Cluster {CLUSTER} of example/ is ready with {START} workers")
    with cluster.client(dask_image) as agent:
        timeline.say(f"a Client is connected to {cluster.scheduler} from a pod of the same image")
        return _compute_and_scale(cluster, agent, timeline)


def _compute_and_scale(cluster: DaskCluster, agent: Agent, timeline: Timeline) -> Report:
    agent.wait_for_workers(START)
    held = agent.hold(scattered=SCATTERED, computed=SCATTERED)
    before = set(agent.look().holders)
    size = agent.persist(partitions=PARTITIONS)
    spread = {name for key, names in agent.look().holders.items() if key not in before for name in names}
    timeline.say(
        f"the data: the sources of Python's standard library, {size['files']} files with "
        f"{size['characters'] / 1e6:.1f} million characters, and their word counts, as bags of {PARTITIONS} partitions"
    )
    timeline.say(f"besides, {held.scattered} of the files scattered, with no recipe, and {held.computed} counted alone")
    timeline.say(f"{len(spread)} workers hold the partitions; in all, {_who_holds_what(agent)}")
    agent.start()
    steps = [_scale(cluster, agent, timeline, before, after) for before, after in _pairs((START, *STEPS))]
    progress = agent.stop()
    total = agent.total()
    timeline.say(f"{progress.answers} queries answered meanwhile, {progress.wrong} of them wrongly")
    common = ", ".join(f"{word} {count}" for word, count in total.most_common)
    verdict = "the same as" if total.equal else "OTHER THAN"
    timeline.say(f"{total.words} words counted by Dask, {verdict} without it; most common: {common}")
    audit = agent.audit()
    timeline.say(
        f"{audit.held} keys read back: {len(audit.lost)} lost, {len(audit.recomputed)} computed again after they were "
        f"in memory, {len(audit.wrong)} changed"
    )
    for what in ("lost", "recomputed", "wrong"):
        if keys := getattr(audit, what):
            timeline.say(f"  {what}: {', '.join(keys[:SHOWN_KEYS])}{', ...' if len(keys) > SHOWN_KEYS else ''}")
    return Report(
        lost_keys=len(audit.lost),
        recomputed_keys=len(audit.recomputed),
        results_equal=total.equal and not progress.wrong and not audit.wrong,
        spread_over=len(spread),
        scale_up_seconds=max(step.seconds for step in steps if step.after > step.before),
        scale_down_seconds=max(step.seconds for step in steps if step.after < step.before),
        held_keys=audit.held,
        answers=progress.answers,
        wrong_answers=progress.wrong,
        steps=tuple(steps),
    )


def _scale(cluster: DaskCluster, agent: Agent, timeline: Timeline, before: int, after: int) -> Step:
    agent.wait_for_answers(agent.progress().answers + ANSWERS_BETWEEN_STEPS)
    timeline.say(f"kubectl scale clusters.{cluster.name} --replicas={after}")
    began = time.monotonic()
    cluster.scale(after)
    cluster.wait_settled(after)
    agent.wait_for_workers(after)
    seconds = round(time.monotonic() - began, 1)
    timeline.say(f"  {before} -> {after} workers in {seconds} s; {_who_holds_what(agent)}")
    return Step(before, after, seconds)


def _who_holds_what(agent: Agent) -> str:
    workers = agent.workers()
    held = ", ".join(f"{worker.bytes / 1e6:.1f}" for worker in workers)
    return f"{len(workers)} workers hold {held} MB"


def _pairs(counts: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(counts))


if __name__ == "__main__":
    main()
