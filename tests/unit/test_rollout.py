"""How workers of an earlier template are replaced, as tables: what is there, what is decided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.cluster import Cluster, InvalidCluster, UpdateStrategy
from dask_k8s_operator.domain.manifests import worker_pod
from dask_k8s_operator.domain.names import LABEL_REVISION
from dask_k8s_operator.domain.planner import needs_scheduler, plan
from dask_k8s_operator.domain.revision import (
    CONTAINER_DEFAULTS,
    HOOK_DEFAULTS,
    POD_DEFAULTS,
    outdated,
    worker_revision,
)
from dask_k8s_operator.domain.snapshot import Pod, Snapshot
from dask_k8s_operator.domain.status import Refusal, with_refusals
from dask_k8s_operator.domain.templates import Complaint, TemplateCheck
from dask_k8s_operator.domain.trouble import Trouble
from tests.unit.builders import (
    NOW,
    cluster,
    condition,
    created,
    decide,
    deleted,
    entry,
    finished,
    follow,
    manifest,
    peers,
    pending,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

if TYPE_CHECKING:
    from dask_k8s_operator.domain.actions import Plan

NEW = worker_revision(cluster())
OLD = "0123456789"
SEEN = {"workers": {"firstRevision": OLD}}
BAD_IMAGE = Trouble("ImagePullBackOff", "image wrong:1: not found")


def old(names: str, **state: Any) -> tuple[Pod, ...]:
    return pods(names, revision=OLD, **state)


def new(names: str, **state: Any) -> tuple[Pod, ...]:
    return pods(names, revision=NEW, **state)


def starting(names: str, revision: str = NEW, **state: Any) -> tuple[Pod, ...]:
    return tuple(replace(pending(name), revision=revision, **state) for name in names)


def outcome(decided: Plan) -> tuple[int, str, str]:
    """How many pods are made, who begins to retire, and who is deleted."""
    retiring = "".join(remembered(decided)) if decided.status else ""
    return len(created(decided)), retiring, "".join(deleted(decided))


ROLLING = UpdateStrategy()
"""One more, none fewer."""

IN_PLACE = UpdateStrategy(max_surge=0, max_unavailable=1)

CASES = {
    "a new one first": (ROLLING, 3, old("abc"), "abc", (1, "", "")),
    "nobody goes before it is ready": (ROLLING, 3, (*old("abc"), *starting("x")), "abc", (0, "", "")),
    "nor before it has joined": (ROLLING, 3, (*old("abc"), *new("x")), "abc", (0, "", "")),
    "then the newest old one goes": (ROLLING, 3, (*old("abc"), *new("x")), "abcx", (0, "c", "")),
    "the last goes": (ROLLING, 3, (*old("a"), *new("xyz")), "axyz", (0, "a", "")),
    "nothing is left to do": (ROLLING, 3, new("xyz"), "xyz", (0, "", "")),
    "one in advance": (IN_PLACE, 3, old("abc"), "abc", (0, "c", "")),
    "then one for it": (IN_PLACE, 3, old("ab"), "ab", (1, "", "")),
    "not more while that starts": (IN_PLACE, 3, (*old("ab"), *starting("x")), "ab", (0, "", "")),
    "a share": (UpdateStrategy(max_surge="50%"), 3, old("abc"), "abc", (2, "", "")),
    "never nothing": (UpdateStrategy(max_surge="0%", max_unavailable="10%"), 3, old("abc"), "abc", (0, "c", "")),
    "those that never worked go first": (
        ROLLING,
        3,
        (*new("abc"), *starting("x", OLD, trouble=BAD_IMAGE)),
        "abc",
        (0, "", "x"),
    ),
    "but none while the new one doesn't work": (
        ROLLING,
        3,
        (*old("ab"), *starting("c", OLD), *starting("x")),
        "ab",
        (0, "", ""),
    ),
    "fewer are wanted": (ROLLING, 1, (*old("abc"), *new("x")), "abcx", (0, "abc", "")),
    "fewer than there are new": (ROLLING, 1, (*old("a"), *new("xy")), "axy", (0, "ay", "")),
    "more are wanted": (ROLLING, 5, (*old("abc"), *new("x")), "abcx", (2, "", "")),
    "none are wanted": (ROLLING, 0, old("ab"), "ab", (0, "ab", "")),
    "on deletion alone": (UpdateStrategy(rolling=False), 3, old("abc"), "abc", (0, "", "")),
    "as somebody deletes them": (UpdateStrategy(rolling=False), 3, old("ab"), "ab", (1, "", "")),
    "old ones first": (UpdateStrategy(rolling=False), 2, (*old("a"), *new("xy")), "axy", (0, "a", "")),
}


@pytest.mark.parametrize(("strategy", "replicas", "there", "joined", "expected"), CASES.values(), ids=CASES)
def test_what_is_replaced(
    strategy: UpdateStrategy, replicas: int, there: tuple[Pod, ...], joined: str, expected: tuple[int, str, str]
) -> None:
    decided = decide(there, replicas=replicas, scheduler=workers(joined), update=strategy)
    assert outcome(decided) == expected


def test_one_on_its_way_out_counts_as_surge() -> None:
    there = (*old("abc"), *new("x"))
    decided = decide(there, replicas=3, scheduler=workers("abcx"), retiring=[entry("c", asked=-1)])
    assert outcome(decided) == (0, "c", "")


def test_one_that_the_scheduler_refused_to_let_go_is_not_taken_back_into_a_rollout() -> None:
    there = (*old("ab"), *new("x"))
    refused = entry("b", asked=-1, refused=True)
    decided = decide(there, replicas=3, scheduler=workers("abx"), retiring=[refused], update=IN_PLACE)
    assert list(remembered(decided)) == ["b"]


def test_nobody_goes_for_a_template_that_gives_no_pod() -> None:
    complaint = TemplateCheck((Complaint("worker", "TemplateInvalid", "there is no such field"),))
    decided = decide(old("abc"), replicas=3, scheduler=workers("abc"), update=IN_PLACE, templates=complaint)
    assert outcome(decided) == (0, "", "")
    status, reason, message = condition(decided, "Progressing")
    assert (status, reason) == ("False", "Stalled")
    assert message.endswith("the others stay until it works or is reverted: there is no such field")


class TestReasons:
    """What the log and the Events say that it is for."""

    @staticmethod
    def of(decided: Plan) -> list[str]:
        return [action.reason for action in decided.actions]

    def test_one_is_made_though_none_is_missing(self) -> None:
        reason = "to take the place of one that was made from an earlier template"
        assert self.of(decide(old("abc"), replicas=3, scheduler=workers("abc"))) == [reason]
        missing = decide(old("ab"), replicas=3, scheduler=workers("ab"))
        assert self.of(missing) == ["fewer workers than the 3 wanted"] * 2

    def test_one_goes_though_none_is_too_many(self) -> None:
        decided = decide((*old("abc"), *new("x")), replicas=3, scheduler=workers("abcx"))
        assert self.of(decided) == ["c: made from an earlier template"]
        never = (*new("abc"), *starting("x", OLD, trouble=BAD_IMAGE))
        assert self.of(decide(never, replicas=3, scheduler=workers("abc"))) == [
            "made from an earlier template, and it never started, so it holds no data"
        ]
        retired = entry("c", asked=-1, moved=True)
        done = decide((*old("abc"), *new("x")), replicas=3, scheduler=workers("abx"), retiring=[retired])
        assert self.of(done) == ["made from an earlier template, and it was retired and its data has moved"]

    def test_a_new_one_that_is_too_many_goes_for_that(self) -> None:
        decided = decide((*old("a"), *new("xy")), replicas=1, scheduler=workers("axy"))
        assert self.of(decided) == ["a: made from an earlier template; y: more workers than the 1 wanted"]

    def test_where_nothing_is_replaced_by_itself(self) -> None:
        decided = decide(old("ab"), replicas=1, scheduler=workers("ab"), update=UpdateStrategy(rolling=False))
        assert self.of(decided) == ["b: more workers than the 1 wanted"]

    def test_no_more_are_told_than_are_wanted(self) -> None:
        decided = decide((*old("abc"), *new("x")), replicas=3, scheduler=workers("abcx"))
        assert condition(decided, "WorkersReady")[2] == "3 of 3 workers are ready"


@pytest.mark.parametrize(
    ("update", "template", "advice"),
    [
        (IN_PLACE, OLD, "scale up, or allow maxSurge 1 in spec.workers.updateStrategy"),
        (IN_PLACE, NEW, "scale up"),
        (UpdateStrategy(max_unavailable=1), OLD, "scale up"),
        (UpdateStrategy(rolling=False), OLD, "scale up"),
    ],
)
def test_what_lets_the_only_worker_go(update: UpdateStrategy, template: str, advice: str) -> None:
    """With no surge nobody can take its data, whatever is waited for."""
    refused = entry("a", asked=-1, refused=True, peers=peers(""))
    there = (pod("a", revision=template),)
    # Its place is another's, so that it isn't taken back.
    wanted = 1 if template == OLD and update.rolling else 0
    decided = decide(there, replicas=wanted, scheduler=workers("a"), retiring=[refused], update=update)
    assert condition(decided, "ScaleDownBlocked")[2].endswith(f"close actors), or {advice}")


class TestRevision:
    """What makes one, and who belongs to it."""

    def test_the_users_image_and_template_make_it(self) -> None:
        images = [{"image": name} for name in ("dask:1", "dask:2")]
        told = {"template": {"spec": {"containers": [{"name": "worker", "image": "dask:3"}]}}}
        one, two = (worker_revision(Cluster.from_manifest(manifest(spec))) for spec in images)
        assert one != two
        assert (
            len({worker_revision(Cluster.from_manifest(manifest({**spec, "workers": told}))) for spec in images}) == 1
        )

    def test_nothing_else_does(self) -> None:
        assert worker_revision(cluster(5, scheduler_template={"spec": {"nodeName": "x"}})) == NEW

    @pytest.mark.parametrize(
        ("template", "same"),
        [
            ({"metadata": {"creationTimestamp": None}}, True),
            ({"metadata": None, "spec": None}, True),
            ({"spec": {"nodeSelector": None}}, True),
            ({"spec": {"containers": [{"name": "worker", "resources": None}]}}, True),
            ({"spec": {"containers": [{"name": "worker", "lifecycle": {"postStart": None}}]}}, True),
            ({"spec": {"containers": [{"name": "worker"}], "volumes": [{"name": "a", "emptyDir": None}]}}, True),
            # A default of the operator's is taken away.
            ({"spec": {"restartPolicy": None}}, False),
            ({"spec": {"terminationGracePeriodSeconds": None}}, False),
            ({"spec": {"containers": [{"name": "worker", "readinessProbe": None}]}}, False),
            ({"spec": {"containers": [{"name": "worker", "args": None}]}}, False),
            ({"spec": {"containers": [{"name": "worker", "lifecycle": {"preStop": None}}]}}, False),
        ],
    )
    def test_a_null_that_takes_nothing_away_makes_no_other(self, template: dict[str, Any], *, same: bool) -> None:
        """Tools write it for all that isn't set, most of all as the creationTimestamp."""

        def revision(given: Any) -> str:
            return worker_revision(Cluster.from_manifest(manifest({"image": "a", "workers": {"template": given}})))

        assert (revision(template) == revision(_without_nulls(template))) == same

    def test_the_fields_with_defaults_are_known(self) -> None:
        """Those that a null takes one from."""
        spec = worker_pod(cluster(), "a")["spec"]
        [container] = spec["containers"]
        assert spec.keys() - {"containers"} == POD_DEFAULTS
        assert container.keys() - {"name", "image"} == CONTAINER_DEFAULTS - {"command"}
        assert container["lifecycle"].keys() == HOOK_DEFAULTS

    def test_pods_of_an_earlier_operator_belong_to_the_first_that_was_seen(self) -> None:
        assert not outdated(cluster(), pods("ab"))
        since = cluster(status={"workers": {"firstRevision": OLD}})
        assert outdated(since, (*pods("ab"), *new("x"))) == {"uid-a", "uid-b"}

    def test_the_first_revision_is_remembered(self) -> None:
        seen = cluster().status
        first = decide(pods("a"), replicas=1, scheduler=workers("a"), status=seen).status
        assert first is not None
        edited = decide(pods("a"), replicas=1, scheduler=workers("a"), status=first, image="dask:2").status
        assert edited is not None
        assert (first["workers"]["firstRevision"], first["workers"]["updated"]) == (NEW, 1)
        assert (edited["workers"]["firstRevision"], edited["workers"]["updated"]) == (NEW, 0)

    def test_it_is_read_from_the_label(self) -> None:
        metadata = {"name": "a", "uid": "u", "resourceVersion": "1", "creationTimestamp": NOW.isoformat()}
        labelled = {"metadata": {**metadata, "labels": {LABEL_REVISION: OLD}}}
        assert Pod.from_manifest(labelled, container="worker").revision == OLD


class TestProgress:
    """What a person is told."""

    def test_how_far_it_is(self) -> None:
        decided = decide((*old("ab"), *new("x")), replicas=3, scheduler=workers("abx"))
        message = f"1 of 3 workers are of revision {NEW}"
        assert condition(decided, "Progressing") == ("True", "NewRevisionProgressing", message)

    def test_on_deletion(self) -> None:
        decided = decide(old("ab"), replicas=2, scheduler=workers("ab"), update=UpdateStrategy(rolling=False))
        assert condition(decided, "Progressing")[:2] == ("True", "NewRevisionOnDelete")

    def test_why_it_stops(self) -> None:
        there = (*old("ab"), *starting("x", trouble=BAD_IMAGE))
        decided = decide(there, replicas=2, scheduler=workers("ab"))
        status, reason, message = condition(decided, "Progressing")
        assert (status, reason) == ("False", "Stalled")
        assert message.endswith("Pod x: image wrong:1: not found")
        assert condition(decided, "WorkersReady")[0] == "True"

    def test_that_it_takes_too_long(self) -> None:
        there = (*old("ab"), pod("x", age=601, ready=False, revision=NEW))
        decided = decide(there, replicas=2, scheduler=workers("ab"))
        assert "has not become ready in 10 minutes" in condition(decided, "Progressing")[2]

    @pytest.mark.parametrize("age", [599, 600])
    def test_that_its_worker_never_joins(self, age: int) -> None:
        there = (*old("ab"), pod("x", age=age, revision=NEW))
        told = condition(decide(there, replicas=2, scheduler=workers("ab")), "Progressing")
        assert (told[1] == "Stalled") == (age >= 600)
        assert ("in 10 minutes its worker has not joined the scheduler" in told[2]) == (age >= 600)

    def test_that_its_worker_ends_as_soon_as_it_begins(self) -> None:
        """And is made anew every few seconds: what was said stays, until there is one that works."""
        seen = snapshot(
            (*old("ab"), finished("x", ran=1, revision=NEW)), replicas=2, scheduler=workers("ab"), status=SEEN
        )
        first = plan(seen, NOW)
        told = condition(first, "Progressing")
        assert told[:2] == ("False", "Stalled")
        assert told[2].endswith("Pod x: its worker ended as soon as it began: does its command start one?")
        seen = follow(seen, first, worker_pods=(*old("ab"), *starting("y")))
        assert condition(plan(seen, NOW), "Progressing") == told
        seen = replace(seen, worker_pods=(*old("ab"), pod("y", age=5, revision=NEW)))
        assert condition(plan(seen, NOW), "Progressing") == told, "ready it may be for a moment"
        works = replace(seen, scheduler=workers("aby"))
        assert condition(plan(works, NOW), "Progressing")[:2] == ("True", "NewRevisionProgressing")
        reverted = replace(seen, worker_pods=(*new("ab"), *old("y")), scheduler=workers("ab"))
        changed = replace(reverted, cluster=replace(seen.cluster, generation=4))
        assert condition(plan(changed, NOW), "Progressing")[:2] == ("True", "NewRevisionProgressing")

    def test_that_an_earlier_one_cant_go(self) -> None:
        """With no surge and one worker alone, nobody can take its data."""
        refused = entry("a", asked=-1, refused=True, peers=peers(""))
        decided = decide(old("a"), replicas=1, scheduler=workers("a"), retiring=[refused], update=IN_PLACE)
        status, reason, message = condition(decided, "Progressing")
        assert (status, reason) == ("False", "Stalled")
        assert message.startswith(
            f"0 of 1 workers are of revision {NEW}: the scheduler found nobody to take the data of a"
        )


class TestRefusedCreations:
    """A quota has no room for one more than wanted."""

    QUOTA = Refusal("Pod", "exceeded quota: small", invalid=False)

    def refused(self, seen: Snapshot) -> tuple[Snapshot, Plan]:
        """The plan, and the next look once its creations were refused."""
        decided = plan(seen, NOW)
        before = decided.status if decided.status is not None else seen.cluster.status
        told = replace(decided, status=with_refusals(before, [self.QUOTA], now=NOW))
        return follow(seen, told), told

    def test_the_rollout_stops_and_the_cluster_is_ready_still(self) -> None:
        seen, told = self.refused(snapshot(old("abc"), replicas=3, scheduler=workers("abc"), status=SEEN))
        message = "the workers stay as they are: the API server refused to create the Pod: exceeded quota: small"
        assert condition(told, "Progressing") == ("False", "CreationRefused", message)
        assert condition(told, "WorkersReady") == ("True", "AllReady", "3 of 3 workers are ready")
        assert condition(told, "Ready")[0] == "True"
        assert plan(seen, NOW).status is None, "each try that tells nothing new writes nothing"
        again, retold = self.refused(seen)
        assert retold.status == told.status == again.cluster.status

    def test_it_goes_on_once_there_is_room(self) -> None:
        seen, _ = self.refused(snapshot(old("abc"), replicas=3, scheduler=workers("abc"), status=SEEN))
        decided = plan(replace(seen, worker_pods=(*old("abc"), *starting("x"))), NOW)
        assert condition(decided, "Progressing")[:2] == ("True", "NewRevisionProgressing")

    def test_one_that_is_missed_is_told_as_before(self) -> None:
        _, told = self.refused(snapshot(old("ab"), replicas=3, scheduler=workers("ab"), status=SEEN))
        assert condition(told, "WorkersReady")[:2] == ("False", "CreationRefused")
        assert condition(told, "Progressing")[:2] == ("False", "CreationRefused")

    def test_where_nothing_is_replaced_nothing_is_said_of_it(self) -> None:
        _, told = self.refused(snapshot(new("ab"), replicas=3, scheduler=workers("ab")))
        assert condition(told, "Progressing")[:2] == ("True", "RolloutComplete")


def test_the_scheduler_is_asked_as_long_as_workers_are_to_be_replaced() -> None:
    assert needs_scheduler(cluster(2), old("ab"))
    assert not needs_scheduler(cluster(2, update=UpdateStrategy(rolling=False)), old("ab"))
    assert not needs_scheduler(cluster(2), new("ab"))


@pytest.mark.parametrize("wrong", ["-1", "1.5", "half", -1, True])
def test_a_bound_that_is_none_is_named(wrong: object) -> None:
    spec = {"image": "dask:1", "workers": {"updateStrategy": {"rollingUpdate": {"maxSurge": wrong}}}}
    with pytest.raises(InvalidCluster, match=r"rollingUpdate\.maxSurge must be a whole number"):
        Cluster.from_manifest(manifest(spec))


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [(1, 0, 3, (1, 0)), ("25%", "25%", 5, (2, 1)), ("0%", "10%", 5, (0, 1)), (0, 0, 5, (0, 1)), ("100%", 0, 0, (0, 1))],
)
def test_shares_are_rounded_as_for_a_deployment(
    surge: int | str, unavailable: int | str, replicas: int, expected: tuple[int, int]
) -> None:
    assert UpdateStrategy(max_surge=surge, max_unavailable=unavailable).bounds(replicas) == expected


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
