"""What holds for every plan, whatever is seen: tried on snapshots that nobody would think of."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_k8s_operator.domain.actions import Create, DeletePod
from dask_k8s_operator.domain.cluster import Retiring
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.snapshot import Listed, NotAsked, RetireCalls, Snapshot, Unreachable, Worker
from dask_k8s_operator.domain.status import Refusal, with_refusals
from tests.unit.builders import (
    DOWN,
    NOW,
    OURS,
    address,
    asked,
    at,
    deleted,
    entry,
    finished,
    follow,
    of_kind,
    pending,
    pod,
    snapshot,
)

if TYPE_CHECKING:
    from dask_k8s_operator.domain.actions import Plan
    from dask_k8s_operator.domain.snapshot import Pod, SchedulerView

pytestmark = pytest.mark.very_many_cases

STRANGER = Worker("stranger", "tcp://192.0.2.1:1")


@dataclass(frozen=True)
class World:
    """What is seen, and what is true and can't be seen: who has a worker that is running."""

    seen: Snapshot
    registered: frozenset[str]

    def pod(self, name: str) -> Pod:
        """The pod with this name."""
        [found] = [pod for pod in self.seen.worker_pods if pod.name == name]
        return found


class Case(NamedTuple):
    """One pod, whether its worker is registered, and what the status remembers of it."""

    pod: Pod | None
    registered: bool = False
    entry: Retiring | None = None


def _cases(name: str) -> list[Case]:
    """All that can be so of one pod, once each: drawing one of a list is faster than drawing each of its parts."""
    running = [
        pod(name, age=age, deletion_cost=cost, ready=ready, terminating=terminating)
        for age, cost in [(0, 0), (3600, 0), (3600, -1), (60, 1)]
        for ready, terminating in [(True, False), (False, False), (True, True)]
    ]
    young = [pending(name, age=age) for age in (0, 3600)] + [replace(pending(name), terminating=True)]
    over = [
        finished(name, ran=ran, ended=ended, terminating=terminating)
        for ran, ended, terminating in [(2, 1, False), (None, 30, False), (600, 1, False), (600, 1, True)]
    ]
    asked = [
        entry(name, asked=-ago, attempts=attempts, peers=peers, moved=moved, refused=refused)
        for ago, attempts in [(0, 1), (5, 1), (9, 2), (3600, 9)]
        for peers in ("", "other")
        for moved, refused in [(False, False), (True, False), (False, True)]
    ]
    entries = [None, entry(name), *asked, replace(asked[0], uid="uid-of-an-earlier-pod")]
    return [
        Case(None),
        Case(None, entry=entry(name)),
        # The entry of a finished pod is dropped, and the pod deleted, in the same pass: there is no second look.
        *(Case(p) for p in over),
        *(Case(p, entry=e) for p in young for e in entries),
        *(Case(p, registered, e) for p in running for registered in (False, True) for e in entries),
    ]


addresses_of_some = st.frozensets(st.sampled_from([address(name) for name in "abcde"]))
cases = st.tuples(*(st.sampled_from(_cases(name)) for name in "abcde"))
scheduler_pods = st.sampled_from([(pod("s"),), (pending("s"),), (pending("s"), pod("t")), ()])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A Cluster in any state at all, also in some that should never come about."""
    drawn = draw(cases)
    registered = frozenset(case.pod.name for case in drawn if case.pod and case.registered)
    listed = tuple(Worker(name, address(name)) for name in sorted(registered))
    views: list[SchedulerView] = [Listed(listed), Listed((*listed, STRANGER)), DOWN, NotAsked()]
    world = snapshot(
        [case.pod for case in drawn if case.pod],
        replicas=draw(st.integers(0, 6)),
        scheduler=draw(st.sampled_from(views)),
        retiring=[case.entry for case in drawn if case.entry],
        calls=RetireCalls(
            in_flight=draw(st.just(frozenset[str]()) | addresses_of_some),
            moved=draw(addresses_of_some),
            refused=draw(addresses_of_some),
        ),
        scheduler_pods=draw(scheduler_pods),
        deployment=draw(st.sampled_from([OURS, None])),
        service=draw(st.sampled_from([OURS, None])),
        image=draw(st.sampled_from(["dask:1", "dask:1", None])),
    )
    return World(seen=world, registered=registered)


def staying(world: World, decided: Plan) -> list[Pod]:
    """The pods that count towards the wanted ones after this."""
    going = {e["uid"] for e in status_after(world, decided)["workers"]["retiring"]}
    gone = set(deleted(decided))
    return [p for p in world.seen.worker_pods if p.live and p.uid not in going and p.name not in gone]


def status_after(world: World, decided: Plan) -> dict[str, dict[str, list[dict[str, str]]]]:
    """The status as it stands after this."""
    return dict(decided.status if decided.status is not None else world.seen.cluster.status)


@given(worlds())
@settings(max_examples=300)
def test_no_deletion_can_lose_a_key(world: World) -> None:
    """Nobody registered is deleted, and nobody who may be when the scheduler doesn't say who is."""
    decided = plan(world.seen, NOW)
    schedulers = [p for p in world.seen.scheduler_pods if p.started]
    for name in deleted(decided):
        victim = world.pod(name)
        if victim.finished or not victim.started:
            continue
        assert not isinstance(world.seen.scheduler, NotAsked)
        if isinstance(world.seen.scheduler, Unreachable):
            assert not schedulers
        else:
            assert name not in world.registered


@given(worlds())
def test_no_deletion_is_made_of_a_pod_in_another_state(world: World) -> None:
    for action in of_kind(DeletePod, plan(world.seen, NOW).actions):
        victim = world.pod(action.name)
        assert (action.uid, action.resource_version) == (victim.uid, victim.resource_version)
        assert not victim.terminating


@given(worlds())
def test_nobody_is_deleted_twice(world: World) -> None:
    names = deleted(plan(world.seen, NOW))
    assert len(names) == len(set(names))


@given(worlds())
@settings(max_examples=300)
def test_never_more_than_wanted(world: World) -> None:
    decided = plan(world.seen, NOW)
    made = [action for action in of_kind(Create, decided.actions) if action.kind == "Pod"]
    if made:
        # With none wanted, there may be one to take the data of a pod that somebody deletes.
        handing_over = any(pod.handing_over for pod in world.seen.worker_pods)
        wanted = world.seen.cluster.replicas or int(handing_over)
        assert len(staying(world, decided)) + len(made) <= wanted


@given(worlds())
@settings(max_examples=300)
def test_never_fewer_than_wanted_by_choice(world: World) -> None:
    """Who is newly chosen to go is too many."""
    decided = plan(world.seen, NOW)
    before = {e.uid for e in world.seen.cluster.retiring}
    chosen = {e["uid"] for e in status_after(world, decided)["workers"]["retiring"]} - before
    chosen -= {pod.uid for pod in world.seen.worker_pods if pod.handing_over}  # somebody else chose these
    chosen |= {world.pod(n).uid for n in deleted(decided) if world.pod(n).live} - before
    if chosen:
        assert len(staying(world, decided)) >= world.seen.cluster.replicas


@given(worlds())
def test_whom_the_scheduler_is_asked_for_is_written_down_first(world: World) -> None:
    decided = plan(world.seen, NOW)
    entries = [Retiring.from_status(e) for e in status_after(world, decided)["workers"]["retiring"]]
    before = {e.uid: e.attempts for e in world.seen.cluster.retiring}
    now_asked = [e for e in entries if e.attempts == before.get(e.uid, 0) + 1]
    assert asked(decided) == frozenset[str]().union(*(e.addresses for e in now_asked))
    for e in now_asked:
        assert e.asked == NOW
        assert world.pod(e.name).live or world.pod(e.name).handing_over
        assert e.name in world.registered
        assert e.name not in deleted(decided)


@given(worlds())
def test_nobody_is_asked_for_while_a_call_is_out(world: World) -> None:
    if world.seen.calls.in_flight & {address(name) for name in world.registered}:
        assert asked(plan(world.seen, NOW)) == frozenset()


@given(worlds())
def test_not_everybody_is_asked_for_at_once(world: World) -> None:
    """Somebody has to be left to take the data."""
    listed = world.seen.scheduler.workers if isinstance(world.seen.scheduler, Listed) else ()
    if len(listed) > 1:
        assert asked(plan(world.seen, NOW)) < {worker.address for worker in listed}


@given(worlds())
def test_what_was_asked_for_is_not_forgotten_while_its_pod_lives(world: World) -> None:
    """Unless it was refused: then the worker went on working, and may be wanted again."""
    decided = plan(world.seen, NOW)
    after = {e["uid"] for e in status_after(world, decided)["workers"]["retiring"]}
    live = {p.uid for p in world.seen.worker_pods if p.live}
    refused = world.seen.calls.refused
    for e in world.seen.cluster.retiring:
        if e.asked is not None and e.uid in live and not e.refused and not refused & frozenset(e.addresses):
            assert e.uid in after


@given(worlds())
def test_the_same_look_gives_the_same_plan(world: World) -> None:
    shuffled = replace(world.seen, worker_pods=world.seen.worker_pods[::-1])
    assert plan(world.seen, NOW) == plan(world.seen, NOW)
    assert set(deleted(plan(shuffled, NOW))) == set(deleted(plan(world.seen, NOW)))
    assert plan(shuffled, NOW).status == plan(world.seen, NOW).status


@given(worlds())
@settings(max_examples=300)
def test_the_status_comes_to_rest(world: World) -> None:
    """A status that is written again each time would be an event each time, and start the next look at once."""
    decided = plan(world.seen, NOW)
    out = RetireCalls(in_flight=asked(decided) | world.seen.calls.in_flight)
    again = plan(follow(world.seen, decided, calls=out), at(0.05))
    assert again.status is None
    assert asked(again) == frozenset()


@given(worlds(), st.sets(st.sampled_from(["Deployment", "Service", "Pod"])), st.booleans())
@settings(max_examples=300)
def test_the_status_comes_to_rest_while_creations_are_refused(world: World, kinds: set[str], invalid: bool) -> None:
    def refuse(seen: Snapshot, decided: Plan) -> Plan:
        refusals = [Refusal(a.kind, "no", invalid=invalid) for a in of_kind(Create, decided.actions) if a.kind in kinds]
        status = decided.status if decided.status is not None else seen.cluster.status
        return replace(decided, status=with_refusals(status, refusals, now=NOW)) if refusals else decided

    decided = refuse(world.seen, plan(world.seen, NOW))
    out = RetireCalls(in_flight=asked(decided) | world.seen.calls.in_flight)
    second = follow(world.seen, decided, calls=out)
    assert plan(second, at(0.05)).status is None


@given(worlds())
def test_the_status_is_json_and_remembers_as_it_was_told(world: World) -> None:
    status = status_after(world, plan(world.seen, NOW))
    assert json.loads(json.dumps(status)) == status
    for told in status["workers"]["retiring"]:
        assert Retiring.from_status(told).to_status() == told


@given(worlds())
def test_while_the_cluster_is_deleted_nothing_is_done(world: World) -> None:
    decided = plan(replace(world.seen, cluster=replace(world.seen.cluster, terminating=True)), NOW)
    assert (decided.status, decided.actions) == (None, ())
