"""What keeps a pod from doing its work, as the pod's own status tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_HANDOVER = "no handover: "
"""How a termination message begins by which the preStop hook says that it can do nothing."""

_PATIENT_REASONS = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Trouble:
    """Why a pod's container doesn't run.

    Attributes:
        reason: one word for programs, Kubernetes' own where it has one: ImagePullBackOff, Unschedulable, StartError…
        message: what a person needs to know; the same each time, so that a try more is no news.
    """

    reason: str
    message: str


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


def handover_trouble(state: Mapping[str, Any]) -> str | None:
    """What the preStop hook of a container that has ended said, if it could do nothing.

    Args:
        state: the container's entry in the pod's status.
    """
    for when in ("state", "lastState"):
        message = state.get(when, {}).get("terminated", {}).get("message", "")
        if message.startswith(NO_HANDOVER):
            return str(message.removeprefix(NO_HANDOVER)).strip()
    return None


def _container_trouble(state: Mapping[str, Any]) -> Trouble | None:
    waiting = state.get("state", {}).get("waiting")
    ended = state.get("state", {}).get("terminated") or state.get("lastState", {}).get("terminated") or {}
    if waiting is None or waiting.get("reason") in _PATIENT_REASONS | {None}:
        return None
    image, reason = state.get("image", ""), waiting["reason"]
    if reason != "CrashLoopBackOff":
        return Trouble(reason, f"image {image}: {waiting.get('message', reason)}")
    if ended.get("reason") in {"StartError", "ContainerCannotRun"}:
        return Trouble("StartError", f"image {image} can't start its command: {ended.get('message', '')}".strip())
    # The kubelet's own message counts the seconds to the next try, which would be news each time.
    what = f"ends with status {ended.get('exitCode', '?')} again and again ({ended.get('reason', 'Error')})"
    return Trouble(reason, f"image {image}: the process {what}: kubectl logs --previous tells why")
