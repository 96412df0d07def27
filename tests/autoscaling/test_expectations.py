"""The check that no worker leaves while tasks wait notices those that do, and says when it has seen nothing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest

from integration.autoscaling import MAXIMUM, assert_workers_stay_while_tasks_wait
from integration.prometheus import Prometheus


@dataclass(frozen=True)
class Recorded(Prometheus):
    """A Prometheus that has scraped these values, one a second."""

    url: str = ""
    waiting: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    retiring: list[int] = field(default_factory=list)

    def history(self, expression: str, *, start: float) -> dict[float, float]:
        by_metric = {
            "tasks{": self.waiting,
            "workers_removed": self.removed,
            'workers{state="retiring"}': self.retiring,
        }
        (values,) = (values for metric, values in by_metric.items() if f"dask_scheduler_{metric}" in expression)
        return {start + second: float(value) for second, value in enumerate(values)}


GONE = MAXIMUM - 1


def test_workers_that_leave_after_the_last_task_has_begun_are_as_expected() -> None:
    recorded = Recorded(waiting=[0, 9, 5, 0, 0, 0], removed=[0, 0, 0, 0, 1, GONE])
    assert_workers_stay_while_tasks_wait(recorded, start=100.0)


def test_workers_that_had_left_before_do_not_matter() -> None:
    recorded = Recorded(waiting=[0, 0, 9, 0, 0], removed=[0, 1, 1, 1, GONE])
    assert_workers_stay_while_tasks_wait(recorded, start=100.0)


@pytest.mark.parametrize(
    ("waiting", "removed", "complaint"),
    [
        ([0, 9, 5, 0, 0], [0, 0, 1, GONE, GONE], r"\{2.0: 5.0"),
        ([0, 9, 5, 0, 0], [0, 0, 0, GONE, GONE], r"\{3.0: 0.0"),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, GONE], "no task has ever waited"),
        ([0, 9, 5, 0, 0], [0, 0, 0, 0, 0], "no worker has ever left"),
    ],
)
def test_anything_else_is_not(waiting: list[int], removed: list[int], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        assert_workers_stay_while_tasks_wait(Recorded(waiting=waiting, removed=removed), start=100.0)


@pytest.mark.parametrize(
    ("retiring", "early"),
    [
        ([0, 0, 0, 0, 2, 1], False),
        ([0, 1, 0, 0, 2, 1], False),  # one that is joining
        ([0, 1, 1, 0, 2, 1], True),
    ],
)
def test_a_worker_that_is_on_its_way_out_counts_too(retiring: list[int], early: bool) -> None:
    recorded = Recorded(waiting=[0, 9, 5, 0, 0, 0], removed=[0, 0, 0, 0, 1, GONE], retiring=retiring)
    expected = pytest.raises(AssertionError, match="1 leave, 5 tasks wait") if early else nullcontext()
    with expected:
        assert_workers_stay_while_tasks_wait(recorded, start=100.0)
