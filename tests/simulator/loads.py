"""What clients compute: synthetic loads, and one that was recorded."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulator.dask import Job, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDED = Path(__file__).with_name("recorded.json")

MIB = 1 << 20


@dataclass(frozen=True)
class Load:
    """Jobs, and the surroundings in which they are computed.

    Attributes:
        name: for the table.
        jobs: in the order of their submission.
        startup: the least and the most seconds that a pod takes to start.
        maximum: how many workers there may be.
        threads: of each worker.
    """

    name: str
    jobs: tuple[Job, ...]
    startup: tuple[float, float]
    maximum: int = 20
    threads: int = 1

    @cached_property
    def until(self) -> float:
        """The end of time: long enough for all to be done and all workers to go."""
        last = max(job.at + job.held for job in self.jobs)
        return last + 4 * sum(job.work for job in self.jobs) / self.maximum + 10 * self.startup[1] + 600


DRAWN = range(100, 105)
"""The loads of the comparison. No number of the rule was chosen by these, see `tuning.SEEDS`."""


def drawn() -> list[Load]:
    """The loads of the comparison: some of each kind that is made up, and the one that was recorded."""
    return [*made_up(DRAWN), recorded()]


def made_up(seeds: Iterable[int]) -> list[Load]:
    """One load of each kind for each seed."""
    kinds = (one_burst, bursts, slow_images, sawtooth, long_tasks, notebook, stages)
    return [make(seed) for make in kinds for seed in seeds]


def one_burst(seed: int) -> Load:
    """One computation, out of nothing."""
    dice = _dice(seed, 1)
    return Load("one burst", (Job(0.0, _tasks(dice, "f", 400, 1.0, 3.0)),), startup=(8, 12))


def bursts(seed: int) -> Load:
    """The same computation every one to two minutes."""
    dice = _dice(seed, 2)
    jobs, at = [], 0.0
    for _ in range(15):
        jobs.append(Job(at, _tasks(dice, "f", 200, 1.0, 3.0)))
        at += dice.uniform(60, 120)
    return Load("bursts", tuple(jobs), startup=(15, 25))


def slow_images(seed: int) -> Load:
    """Computations every few minutes, by workers that take three minutes to start (dask-kubernetes' issue 659)."""
    dice = _dice(seed, 3)
    jobs, at = [], 0.0
    for _ in range(10):
        jobs.append(Job(at, _tasks(dice, "f", dice.randint(100, 600), 2.0, 6.0)))
        at += dice.uniform(120, 480)
    return Load("slow images", tuple(jobs), startup=(150, 210))


def sawtooth(seed: int) -> Load:
    """Small computations, more and more of them and then none, over and over."""
    dice = _dice(seed, 4)
    jobs = []
    for second in range(0, 2400, 4):
        height = (second % 400) / 400
        if height < 0.75:
            jobs.append(Job(float(second), _tasks(dice, "f", max(round(40 * height), 1), 0.5, 1.5)))
    return Load("sawtooth", tuple(jobs), startup=(10, 20))


def long_tasks(seed: int) -> Load:
    """A few tasks of many minutes, and a few more as time goes by."""
    dice = _dice(seed, 5)
    jobs = [Job(0.0, _tasks(dice, "train", 12, 300, 900))]
    jobs += [Job(200.0 * number, _tasks(dice, "train", dice.randint(1, 4), 200, 600)) for number in range(1, 10)]
    return Load("long tasks", tuple(jobs), startup=(20, 40))


def notebook(seed: int) -> Load:
    """A person who computes something, looks at it for a while, and computes something else."""
    dice = _dice(seed, 6)
    jobs, at = [], 0.0
    for number in range(60):
        longest = dice.choice([0.2, 1.0, 4.0])
        tasks = _tasks(dice, f"cell-{number % 7}", dice.randint(5, 120), longest / 4, longest)
        jobs.append(Job(at, tasks, held=dice.uniform(0, 30)))
        at += 5 + dice.expovariate(1 / 45)
    return Load("notebook", tuple(jobs), startup=(20, 40), threads=2)


def stages(seed: int) -> Load:
    """Computations in stages, each wider or narrower than the one before, whose results are held for a while."""
    dice = _dice(seed, 7)
    jobs = []
    for number in range(8):
        tasks: list[Task] = []
        before: tuple[int, ...] = ()
        for stage, width in enumerate([60, 240, 30, 4, 120]):
            begin = len(tasks)
            seconds = [dice.uniform(1, 4) for _ in range(width)]
            tasks += [Task(f"stage-{stage}", second, before, size=4 * MIB) for second in seconds]
            tasks.append(Task("barrier", 0.01, tuple(range(begin, len(tasks))), size=100))
            before = (len(tasks) - 1,)
        jobs.append(Job(240.0 * number, tuple(tasks), held=60.0))
    return Load("stages", tuple(jobs), startup=(20, 40))


def recorded() -> Load:
    """What a real Dask scheduler was given, by `record.py`: three times, with pauses, ten times as slow."""
    jobs = json.loads(RECORDED.read_text("utf-8"))
    chosen = [(at, job) for at in (0.0, 600.0, 1500.0) for job in jobs]
    return Load(
        "recorded",
        tuple(
            Job(
                at=at + 10 * job["at"],
                tasks=tuple(
                    Task(prefix, 10 * seconds, tuple(after), size) for prefix, seconds, after, size in job["tasks"]
                ),
                held=10 * job["held"],
            )
            for at, job in chosen
        ),
        startup=(20, 40),
    )


def _dice(seed: int, kind: int) -> random.Random:
    return random.Random(10 * seed + kind)  # noqa: S311 (it is to be the same again)


def _tasks(dice: random.Random, prefix: str, count: int, shortest: float, longest: float) -> tuple[Task, ...]:
    # More short ones than long ones, as in life.
    span = math.log(longest / shortest)
    return tuple(Task(prefix, shortest * math.exp(span * dice.random())) for _ in range(count))
