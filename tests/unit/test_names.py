"""Names that users rely on, and names that must not come twice."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dask_k8s_operator.domain import names


def test_names_that_users_rely_on() -> None:
    assert names.scheduler_name("team-a") == "team-a-scheduler"
    assert names.scheduler_address("team-a", "science") == "tcp://team-a-scheduler.science.svc:8786"
    assert names.dashboard_address("team-a", "science") == "http://team-a-scheduler.science.svc:8787"
    assert names.selector("team-a", "worker") == "dask.charmtx.com/cluster=team-a,dask.charmtx.com/role=worker"


def test_worker_names_are_the_same_in_every_version() -> None:
    """Two versions of the operator that look at the same state, as in an update, must not make twice the pods."""
    assert names.worker_names("team-a", ["uid-cluster", "7"], 2) == TODAY


TODAY = ["team-a-worker-x5wknf", "team-a-worker-7lglc4"]


@given(st.sets(st.text(max_size=8)), st.integers(0, 50))
def test_worker_names_differ_and_can_be_used(seen: set[str], count: int) -> None:
    made = names.worker_names("team-a", seen, count)
    assert len(set(made)) == count
    assert all(re.fullmatch(r"team-a-worker-[a-z0-9]{6}", name) for name in made)


@given(st.lists(st.text(max_size=8)), st.integers(1, 5))
def test_the_order_of_what_was_seen_doesnt_matter(seen: list[str], count: int) -> None:
    assert names.worker_names("c", seen, count) == names.worker_names("c", reversed(seen), count)


def test_more_of_the_same_state_begin_with_the_same() -> None:
    """A pod that was made, though its answer got lost, is met again when it is tried again."""
    assert names.worker_names("c", ["x"], 5)[:2] == names.worker_names("c", ["x"], 2)
