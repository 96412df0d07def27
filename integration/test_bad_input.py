"""Whatever is wrong with a Cluster is told, as `docs/bad-input.md` has it, and harms nothing that runs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy import crd
from integration.bad_input_page import Met, check, told_by_kubectl
from integration.bad_input_refused import REFUSED
from integration.bad_input_stored import LIMITS, TOLD, UNABLE, UNABLE_NEW
from integration.dask_cluster import DaskCluster, condition, manifest
from integration.kube import CLUSTERS, KubectlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.bad_input import Wrong
    from integration.bad_input_stored import Limit
    from integration.cluster.provider import Images
    from integration.kube import Kube, Manifest, Objects

AT_ONCE = 4
"""So many kubectl run side by side."""

EARLIER = "earlier.example.com"
"""The group of a resource with the same schema, whose definition a test may change."""


@dataclass(frozen=True)
class Running:
    """A Cluster that runs, with data in its workers' memory.

    Attributes:
        base: as it was applied.
        seen: what must stay.
    """

    kube: Kube
    name: str
    base: Manifest
    seen: Any

    def untouched(self, objects: Objects) -> bool:
        """Whether the same processes run, maybe beside others, and nothing was changed of what they run in."""
        (pods, *others), (seen, *before) = _vital(objects, self.name), self.seen
        return bool(pods.items() >= seen.items() and others == before)


def test_what_is_refused_or_told_harms_nothing(kube: Kube, images: Images) -> None:
    with _running(kube, images) as running:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            refused = list(threads.map(lambda wrong: _refused(running, wrong), REFUSED))
        told = [_told(running, wrong) for wrong in TOLD]
        _assert_events(kube, told)
        kube.apply(running.base)
        DaskCluster(kube, "dask").wait_condition("TemplateValid", "True")
    check("Refused by kubectl apply", refused, kube, IMAGE=images.dask)
    check("Told by TemplateValid", told, kube, IMAGE=images.dask)


@pytest.mark.waits_long
def test_pods_that_cant_work_and_policies_harm_nothing(kube: Kube, images: Images) -> None:
    """New Clusters in trouble beside it while the one that runs gets into one trouble after the other."""
    with _running(kube, images) as running:
        new = [_new(images, number, wrong) for number, wrong in enumerate(UNABLE_NEW)]
        kube.apply(*new)
        unable = [_unable(running, wrong) for wrong in UNABLE]
        slow = [
            _condition_says(kube, cluster["metadata"]["name"], wrong)
            for cluster, wrong in zip(new, UNABLE_NEW, strict=True)
        ]
        kube.delete(CLUSTERS, *(cluster["metadata"]["name"] for cluster in new))
        limits = [_limited(running, limit) for limit in LIMITS]
        _assert_events(kube, [*unable, *slow, *limits])
    check("Told by SchedulerReady and WorkersReady", unable + slow, kube, IMAGE=images.dask)
    check("Told because of a policy of the namespace", limits, kube, IMAGE=images.dask)


def test_what_was_wrong_before_there_was_a_rule_can_still_be_used(unattended: Kube) -> None:
    """Scaled, labelled, its status written, and deleted."""
    with _earlier_definition(unattended) as define:
        # These were never taken, and the rules rely on it.
        never = {
            "the template as a list",
            "the containers as an object",
            "a container without a name",
            "two containers of one name",
            "a Service's port without a number",
            "workers by demand without a maximum",
        }
        wrong = [w for w in REFUSED if len(w.path) > 2 and "replicas" not in w.path and w.title not in never]
        base = manifest("dask", "dask:1", replicas=2)
        clusters = [{**w.within(base), "apiVersion": f"{EARLIER}/v1alpha1"} for w in wrong]
        for number, cluster in enumerate(clusters):
            cluster["metadata"] = {"name": f"wrong-{number}"}
        kind = f"clusters.{EARLIER}"
        unattended.run("create", "--filename=-", "--validate=ignore", stdin=_list(clusters))
        define(_definition())
        unattended.run("scale", kind, "--all", "--replicas=3")
        unattended.run("label", kind, "--all", "a=b")
        patch = json.dumps({"status": {"observedGeneration": 2}})
        names = [cluster["metadata"]["name"] for cluster in clusters]
        unattended.run("patch", kind, *names, "--subresource=status", "--type=merge", f"--patch={patch}")
        found = json.loads(unattended.run("get", kind, "--output=json"))["items"]
        assert {c["spec"]["workers"]["replicas"] for c in found} == {3}
        assert {c["status"]["observedGeneration"] for c in found} == {2}
        unattended.run("delete", kind, "--all", "--timeout=30s")


@contextmanager
def _running(kube: Kube, images: Images) -> Iterator[Running]:
    """A Cluster with data, of which nothing may be lost."""
    cluster = DaskCluster(kube, "dask").apply(images.dask, replicas=2)
    with cluster.client(images.dask) as agent:
        agent.hold(scattered=20, computed=20)
        seen = _vital(kube.objects(), "dask")
        running = Running(kube, "dask", manifest("dask", images.dask, replicas=2), seen)
        yield running
        assert running.untouched(kube.objects())
        assert agent.audit().intact, agent.audit()


def _vital(objects: Objects, cluster: str) -> Any:
    pods = {
        pod["metadata"]["uid"]: sum(state["restartCount"] for state in pod["status"].get("containerStatuses", ()))
        for pod in objects.pods(cluster=cluster)
        if "deletionTimestamp" not in pod["metadata"]
    }
    deployment = objects.find("Deployment", f"{cluster}-scheduler") or {}
    service = objects.find("Service", f"{cluster}-scheduler") or {}
    return pods, deployment["metadata"]["generation"], service["spec"]


def _refused(running: Running, wrong: Wrong) -> Met:
    """Apply it as users do, one object at a time: for a list, kubectl looks at the schema itself."""
    with pytest.raises(KubectlError) as caught:
        running.kube.run("apply", "--filename=-", stdin=json.dumps(wrong.within(running.base)))
    message = told_by_kubectl(caught.value.stderr)
    assert wrong.says in message, f"{wrong.title}: {message}"
    return Met(wrong.title, "`kubectl apply`", message)


def _told(running: Running, wrong: Wrong) -> Met:
    running.kube.run("apply", "--filename=-", stdin=json.dumps(wrong.within(running.base)))

    def complaint(objects: Objects) -> str | None:
        cluster = objects.find("Cluster", running.name) or {}
        valid = condition(cluster, "TemplateValid")
        if valid is None or valid["observedGeneration"] != cluster["metadata"]["generation"]:
            return None
        ready = condition(cluster, "Ready") or {}
        assert (valid["status"], ready["status"]) == ("False", "True"), f"{wrong.title}: {valid} {ready}"
        assert running.untouched(objects), wrong.title
        return str(valid["message"])

    message = running.kube.wait(f"it is told: {wrong.title}", complaint, timeout=30)
    assert wrong.says in message, f"{wrong.title}: {message}"
    return Met(wrong.title, "`TemplateValid`, Event", message)


def _new(images: Images, number: int, wrong: Wrong) -> Manifest:
    replicas = 0 if "scheduler" in wrong.path else 1
    return wrong.within(manifest(f"new-{number}", images.dask, replicas=replicas))


def _unable(running: Running, wrong: Wrong) -> Met:
    """Have one worker more with the mistake, until it is told, and then none again."""
    changed = wrong.within(running.base)
    changed["spec"]["workers"]["replicas"] = 3
    met = _once(running, changed, wrong, "WorkersReady")
    running.kube.wait("the worker too many is gone", lambda objects: _vital(objects, running.name) == running.seen)
    return met


def _limited(running: Running, limit: Limit) -> Met:
    kube, setting = running.kube, limit.setting
    kube.apply(setting)
    if setting["kind"] == "ResourceQuota":
        counted = lambda: kube.get("resourcequota", "few").get("status", {}).get("used")  # noqa: E731 (named for the reader)
        kube.wait_for("the quota is counted", counted)
    met = _once(running, limit.wrong.within(running.base), limit.wrong, limit.told)
    kube.delete(setting["kind"], setting["metadata"]["name"], wait=True)
    return met


def _once(running: Running, changed: Manifest, wrong: Wrong, told: str) -> Met:
    """Change the Cluster until it is told what is wrong, and back."""
    running.kube.apply(changed)
    met = _condition_says(running.kube, running.name, wrong, told)
    assert running.untouched(running.kube.objects()), wrong.title
    running.kube.apply(running.base)
    return met


def _condition_says(kube: Kube, name: str, wrong: Wrong, told: str | None = None) -> Met:
    kind = told or ("SchedulerReady" if "scheduler" in wrong.path else "WorkersReady")
    found = DaskCluster(kube, name).wait_condition(kind, "False", containing=wrong.says, timeout=120)
    # A volume or an image may well take its time.
    where = f"`{kind}`" if found["reason"] == "NotCreated" else f"`{kind}`, Event"
    return Met(wrong.title, where, found["message"])


def _assert_events(kube: Kube, met: list[Met]) -> None:
    """What is said to be told by Events is."""
    wanted = {one.message[:1024] for one in met if one.where.endswith(", Event")}

    def written() -> bool:
        events = json.loads(kube.run("get", "events", "--output=json"))["items"]
        return wanted <= {event["message"] for event in events}

    kube.wait_for(f"Events tell all of this: {wanted}", written, timeout=30)


@contextmanager
def _earlier_definition(kube: Kube) -> Iterator[Any]:
    """A definition under another name that takes anything at first; gives a function that changes it."""
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def define(definition: Manifest) -> None:
        kube.run("replace", "--filename=-", stdin=json.dumps(definition))
        kube.wait_established(f"clusters.{EARLIER}")

    definition = _definition()
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {
        "type": "object",
        "properties": {"spec": loose, "status": loose},
    }
    kube.run("create", "--filename=-", stdin=json.dumps(definition))
    try:
        kube.wait_established(f"clusters.{EARLIER}")
        yield define
    finally:
        kube.run("delete", "crd", f"clusters.{EARLIER}", "--timeout=60s")


def _definition() -> Manifest:
    definition: Manifest = yaml.safe_load(crd.RESULT.read_text())
    definition["metadata"] = {"name": f"clusters.{EARLIER}"}
    definition["spec"]["group"] = EARLIER
    definition["spec"]["names"]["categories"] = []
    return definition


def _list(items: list[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
