"""The status as a whole: what it counts, what it remembers, and when a condition of it changed."""

from __future__ import annotations

from dataclasses import replace

from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.revision import scheduler_revision, worker_revision
from dask_k8s_operator.domain.snapshot import Unreachable
from tests.unit.builders import (
    NOW,
    at,
    cluster,
    condition,
    decide,
    entry,
    finished,
    follow,
    peers,
    pending,
    pod,
    pods,
    remembered,
    snapshot,
    times,
    workers,
)


def test_all_of_it() -> None:
    retiring = [entry("c", asked=-2, peers=peers("ab"))]
    seen = (*pods("ab"), pod("c", ready=False), pending("d"), pod("e", terminating=True), finished("f"))
    decided = decide(seen, replicas=3, retiring=retiring, scheduler=workers("abc"))
    seen_cluster = cluster()
    common = {"observedGeneration": 3, "lastTransitionTime": "2026-03-01T12:00:00Z"}
    assert decided.status == {
        "observedGeneration": 3,
        "state": "Retiring",
        "scheduler": {
            "address": "tcp://team-a-scheduler.science.svc:8786",
            "dashboard": "http://team-a-scheduler.science.svc:8787",
            "state": "Ready",
            "revision": scheduler_revision(seen_cluster),
            "firstRevision": scheduler_revision(seen_cluster),
        },
        "workers": {
            "count": 4,
            "ready": 2,
            "updated": 4,
            "revision": worker_revision(seen_cluster),
            "firstRevision": worker_revision(seen_cluster),
            "selector": "dask.charmtx.com/cluster=team-a,dask.charmtx.com/role=worker",
            "retiring": [
                {
                    "name": "c",
                    "uid": "uid-c",
                    "addresses": ["tcp://10.0.0.99:9000"],
                    "since": "2026-03-01T11:59:00+00:00",
                    "asked": "2026-03-01T11:59:58+00:00",
                    "attempts": 1,
                    "peers": peers("ab"),
                }
            ],
            "retiringCount": 1,
        },
        "conditions": [
            {**common, "type": "Ready", "status": "False", "reason": "Starting", "message": "2 of 3 workers are ready"},
            {
                **common,
                "type": "SchedulerReady",
                "status": "True",
                "reason": "Available",
                "message": "the scheduler listens at team-a-scheduler",
            },
            {
                **common,
                "type": "WorkersReady",
                "status": "False",
                "reason": "Starting",
                "message": "2 of 3 workers are ready",
            },
            {
                **common,
                "type": "Progressing",
                "status": "True",
                "reason": "RolloutComplete",
                "message": f"all workers are of revision {worker_revision(seen_cluster)}",
            },
            {
                **common,
                "type": "SchedulerUpdated",
                "status": "True",
                "reason": "UpToDate",
                "message": f"the scheduler is of revision {scheduler_revision(seen_cluster)}",
            },
            {
                **common,
                "type": "TemplateValid",
                "status": "True",
                "reason": "Valid",
                "message": "the API server takes what the templates say",
            },
            {
                **common,
                "type": "Retiring",
                "status": "True",
                "reason": "HandingOver",
                "message": "1 worker hands over and leaves: c",
            },
            {
                **common,
                "type": "ScaleDownBlocked",
                "status": "False",
                "reason": "NothingBlocked",
                "message": "no worker is kept against the replicas wanted",
            },
            {
                **common,
                "type": "HandoverPossible",
                "status": "True",
                "reason": "NoFailure",
                "message": "no worker whose pod was deleted has said that it could not hand its data over",
            },
        ],
    }


class TestTransitions:
    """`lastTransitionTime` is when the status of a condition changed, not when it was written."""

    def test_is_kept_while_only_the_message_changes(self) -> None:
        before = plan(snapshot(pods("a"), replicas=3), NOW)
        after = plan(follow(snapshot(pods("ab"), replicas=3), before), at(60))
        assert times(after, "WorkersReady") == "2026-03-01T12:00:00Z"
        assert condition(after, "WorkersReady")[2] == "2 of 3 workers are ready"

    def test_moves_with_the_status_of_that_condition_alone(self) -> None:
        before = plan(snapshot(pods("a"), replicas=2), NOW)
        after = plan(follow(snapshot(pods("ab"), replicas=2), before), at(60))
        assert times(after, "WorkersReady") == "2026-03-01T12:01:00Z"
        assert times(after, "Ready") == "2026-03-01T12:01:00Z"
        assert times(after, "SchedulerReady") == "2026-03-01T12:00:00Z"

    def test_what_stands_already_isnt_written(self) -> None:
        seen = snapshot(pods("a"), replicas=1)
        assert plan(follow(seen, plan(seen, NOW)), at(60)).status is None

    def test_a_new_generation_is_told(self) -> None:
        seen = snapshot(pods("a"), replicas=1)
        after = follow(seen, plan(seen, NOW))
        decided = plan(replace(after, cluster=replace(after.cluster, generation=4)), at(60))
        assert decided.status is not None
        assert decided.status["observedGeneration"] == 4
        assert {c["observedGeneration"] for c in decided.status["conditions"]} == {4}


def test_entries_come_back_from_the_status_as_they_went_in() -> None:
    entries = [entry("b"), entry("c", asked=-3, peers="abc", moved=True), entry("d", asked=-3, refused=True)]
    decided = decide(pods("abcd"), replicas=0, retiring=entries, scheduler=Unreachable("down"))
    assert remembered(decided) == {e.name: e for e in entries}
