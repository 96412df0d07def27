"""The names, labels, ports and variables that users and other tools rely on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP = "dask.charmtx.com"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "Cluster"
PLURAL = "clusters"

LABEL_CLUSTER = f"{GROUP}/cluster"
LABEL_ROLE = f"{GROUP}/role"
LABEL_REVISION = f"{GROUP}/revision"
"""On worker pods: which template they were made from."""
ANNOTATION_REVISION = LABEL_REVISION
"""The same on the scheduler's Deployment itself: in its pod template it would make a change of every template."""
ANNOTATION_APPLIED = f"{GROUP}/applied"
"""On the scheduler's Deployment and Service: a digest of what the operator last wrote of the pod template or of all."""
FIELD_MANAGER = "dask-operator"
"""Under which name the API server keeps what the operator sets of objects."""
ROLE_SCHEDULER = "scheduler"
ROLE_WORKER = "worker"

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""The annotation by which users rank pods for removal, lowest first, as for a ReplicaSet.

https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
"""

PORT_COMM = ("tcp-comm", 8786)
PORT_DASHBOARD = ("http-dashboard", 8787)
PORT_WORKER = ("tcp-worker", 9000)
PORT_WORKER_DASHBOARD = ("http-dashboard", 9001)

ENV_ROUTES = "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"
ENV_SCHEDULER_ADDRESS = "DASK_SCHEDULER_ADDRESS"
ENV_SCHEDULER_DASHBOARD = "DASK_SCHEDULER_DASHBOARD"
ENV_WORKER_NAME = "DASK_WORKER_NAME"
ENV_WORKER_ADDRESS = "DASK_WORKER_ADDRESS"
ENV_WORKER_PORT = "DASK_WORKER_PORT"
ENV_DASHBOARD_PORT = "DASK_DASHBOARD_PORT"

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, no look-alikes: no words by accident
_SUFFIX_LENGTH = 6


def scheduler_name(cluster: str) -> str:
    """The name of the scheduler's Deployment and of its Service."""
    return f"{cluster}-scheduler"


def labels(cluster: str, role: str) -> dict[str, str]:
    """The labels of everything that belongs to one role of one Cluster."""
    return {LABEL_CLUSTER: cluster, LABEL_ROLE: role}


def selector(cluster: str, role: str) -> str:
    """The label selector, as a string, of one role of one Cluster."""
    return ",".join(f"{key}={value}" for key, value in labels(cluster, role).items())


def scheduler_address(cluster: str, namespace: str) -> str:
    """Where workers and clients reach the scheduler."""
    return f"tcp://{scheduler_name(cluster)}.{namespace}.svc:{PORT_COMM[1]}"


def dashboard_address(cluster: str, namespace: str) -> str:
    """Where the scheduler's dashboard and HTTP API are."""
    return f"http://{scheduler_name(cluster)}.{namespace}.svc:{PORT_DASHBOARD[1]}"


def worker_names(cluster: str, seen: Iterable[str], count: int) -> list[str]:
    """Names for `count` new worker pods that follow from the state they were planned on.

    The same state gives the same names: a creation whose answer was lost, and a second operator that saw
    the same pods, meet "already exists" instead of making one pod too many. Another state gives other names:
    Dask makes a newcomer whose name is still registered exit, so a name is not used twice.

    Args:
        cluster: the Cluster's name.
        seen: whatever identifies the state: the Cluster's uid and resourceVersion and the uids of its pods.
        count: how many names.
    """
    state = "\n".join(sorted(seen))
    return [f"{cluster}-worker-{_suffix(f'{index} {state}')}" for index in range(count)]


def _suffix(text: str) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(_SUFFIX_LENGTH):
        number, rest = divmod(number, len(_SUFFIX_ALPHABET))
        letters.append(_SUFFIX_ALPHABET[rest])
    return "".join(letters)
