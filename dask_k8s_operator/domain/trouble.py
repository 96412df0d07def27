"""What keeps a pod from doing its work, as the pod's own status tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HANDOVER = "handing over"
"""The first line of a termination message, by which the preStop hook says that it has begun."""

NO_HANDOVER = "no handover: "
"""How the line of a termination message begins by which the preStop hook says that it can do nothing."""

TERMINATION_LOG = "/dev/termination-log"
"""Where a container's processes leave the message that its status shows once it has ended, unless its template says
otherwise."""

SLOW = timedelta(seconds=60)
"""What takes longer than this to start is told, though nothing is known to be wrong."""

ENDED_AT_ONCE = "its worker ended as soon as it began: does its command start one?"

_PATIENT_REASONS = frozenset({"ContainerCreating", "PodInitializing"})

_BACK_OFF = re.compile(r'Back-off pulling image "[^"]*": (\w+): (.*)', re.DOTALL)
"""How the kubelet repeats, until the next try, why an image could not be pulled: the try itself says the same."""

_REFUSED_POD = re.compile(r'^pods "[^"]*" is forbidden: ')
"""How the API server begins, with a name that is another one at each try."""

_CRASH_LOOP = "CrashLoopBackOff"

_AGAIN_AND_AGAIN = 2
"""A process that ended and was started so often is not there to stay."""


@dataclass(frozen=True)
class Trouble:
    """Why a pod's container doesn't run.

    Attributes:
        reason: one word for programs, Kubernetes' own where it has one: ImagePullBackOff, Unschedulable, StartError…
        message: what a person needs to know; the same each time, so that a try more is no news.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Delay:
    """What a pod waits for that others need little time for.

    Attributes:
        since: from when on.
        trouble: what to say once it has taken long.
    """

    since: datetime
    trouble: Trouble

    def left(self, now: datetime) -> timedelta:
        """How long it isn't worth telling yet."""
        return self.since + SLOW - now


def find_delay(manifest: Mapping[str, Any], container: str) -> Delay | None:
    """What a pod that isn't ready waits for, as far as its status tells; see `find_trouble` for arguments."""
    spec, status = manifest.get("spec", {}), manifest.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    if conditions.get("Ready", {}).get("status") == "True" or status.get("phase") in {"Succeeded", "Failed"}:
        return None
    created = manifest["metadata"]["creationTimestamp"]
    if "nodeName" not in spec:
        what = f"nobody chooses a node for it: does the scheduler {spec.get('schedulerName')} run?"
        return _delay(created, "Unscheduled", what)
    states: dict[str, Mapping[str, Any]] = {s["name"]: s["state"] for s in status.get("containerStatuses", ())}
    state = states.get(container, {})
    if started := state.get("running", {}).get("startedAt"):
        what = (
            f"container {container} runs, but nothing listens where its readiness probe looks: kubectl logs tells why"
        )
        return _delay(started, "NotReady", what)
    if state.get("waiting", {}).get("reason") in _PATIENT_REASONS:
        what = "its containers aren't made yet: kubectl describe tells what they wait for, an image or a volume"
        return _delay(conditions.get("PodScheduled", {}).get("lastTransitionTime", created), "NotCreated", what)
    return None


def find_trouble(manifest: Mapping[str, Any], container: str) -> Trouble | None:
    """What keeps a container from running, or None while it runs or only needs time.

    Args:
        manifest: the pod, as the API server gives it.
        container: the container's name.
    """
    status = manifest.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble("Unschedulable", condition.get("message", "no node takes it"))
    for state in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        found = _container_trouble(state)
        if found is not None:
            where = "" if state["name"] == container else f"container {state['name']}: "
            return Trouble(found.reason, f"{where}{found.message}")
    return None


def deployment_trouble(manifest: Mapping[str, Any]) -> Trouble | None:
    """Why a Deployment can't make its pods, as a quota or a policy may forbid; None while it can."""
    for condition in manifest.get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = _REFUSED_POD.sub("", condition.get("message", ""))
            return Trouble(condition.get("reason", "ReplicaFailure"), f"its pod can't be made: {message}")
    return None


def handover_trouble(manifest: Mapping[str, Any], container: str) -> str | None:
    """What the preStop hook of a container that has ended said, if it could do nothing; or that it said nothing at all.

    Kubernetes tells of a hook that can't be run by an Event alone, which says no more than that it failed.

    Args:
        manifest: the pod, as the API server gives it.
        container: the container's name.
    """
    states = [s for s in manifest.get("status", {}).get("containerStatuses", ()) if s["name"] == container]
    for state in states:
        for when in ("state", "lastState"):
            message = state.get(when, {}).get("terminated", {}).get("message", "")
            _, complains, complaint = message.partition(NO_HANDOVER)
            if complains:
                return str(complaint).strip()
    ended = states[0].get("state", {}).get("terminated", {}) if states else {}
    if (
        _has_hook(manifest, container)
        and _ended_by_deletion(manifest, ended)
        and HANDOVER not in ended.get("message", "")
    ):
        return "its preStop hook did not run: has the image a /bin/sh?"
    return None


def _has_hook(manifest: Mapping[str, Any], container: str) -> bool:
    """Whether the container has the operator's own preStop hook, and the hook a place to say something."""
    for spec in manifest.get("spec", {}).get("containers", ()):
        if spec["name"] == container:
            hook = spec.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ())
            path = spec.get("terminationMessagePath", TERMINATION_LOG)
            return path == TERMINATION_LOG and any(HANDOVER in argument for argument in hook)
    return False


def _ended_by_deletion(manifest: Mapping[str, Any], ended: Mapping[str, Any]) -> bool:
    """Whether a container ran on until somebody deleted its pod."""
    metadata = manifest["metadata"]
    if "deletionTimestamp" not in metadata or not ended.get("startedAt") or not ended.get("finishedAt"):
        return False
    grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds", 0))
    deleted = datetime.fromisoformat(metadata["deletionTimestamp"]) - grace
    return datetime.fromisoformat(ended["finishedAt"]) >= deleted


def _container_trouble(state: Mapping[str, Any]) -> Trouble | None:
    waiting = state.get("state", {}).get("waiting")
    if waiting is None and _is_started_again_and_again(state):
        waiting = {"reason": _CRASH_LOOP}
    ended = state.get("state", {}).get("terminated") or state.get("lastState", {}).get("terminated") or {}
    if waiting is None or waiting.get("reason") in _PATIENT_REASONS | {None}:
        return None
    image, reason = state.get("image", ""), waiting["reason"]
    if reason != _CRASH_LOOP:
        message = waiting.get("message", reason)
        if repeated := _BACK_OFF.fullmatch(message):
            reason, message = repeated.groups()
        return Trouble(reason, f"image {image}: {message}")
    if ended.get("reason") in {"StartError", "ContainerCannotRun"}:
        return Trouble("StartError", f"image {image} can't start its command: {ended.get('message', '')}".strip())
    # The kubelet's own message counts the seconds to the next try, which would be news each time.
    what = f"ends with status {ended.get('exitCode', '?')} again and again ({ended.get('reason', 'Error')})"
    return Trouble(_CRASH_LOOP, f"image {image}: the process {what}: kubectl logs --previous tells why")


def _is_started_again_and_again(state: Mapping[str, Any]) -> bool:
    """Whether a container that runs for the moment, or has just ended, is to be expected to end again."""
    ended = state.get("lastState", {}).get("terminated", {})
    often = state.get("restartCount", 0) >= _AGAIN_AND_AGAIN
    return often and not state.get("ready", False) and ended.get("exitCode", 0) != 0


def _delay(since: str, reason: str, message: str) -> Delay:
    return Delay(datetime.fromisoformat(since), Trouble(reason, message))
