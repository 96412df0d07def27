"""Which of the scheduler's workers run in which pod."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_k8s_operator.domain.snapshot import Pod, Worker


def match_workers(pods: Iterable[Pod], workers: Iterable[Worker]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    """Match the scheduler's workers to pods.

    By the pod's IP first, which a worker can't choose; by name where several pods share an IP (`hostNetwork`)
    or the worker told the scheduler another address. A pod can run several workers (`--nworkers`), which Dask
    names `<name>-0`, `<name>-1`… Finished pods run nothing, and their IPs may belong to others by now.

    Returns:
        The addresses of each pod's workers by the pod's uid, and those that belong to no pod.
    """
    running = [pod for pod in pods if not pod.finished]
    sharing = Counter(pod.ip for pod in running)
    by_ip = {pod.ip: pod for pod in running if sharing[pod.ip] == 1}
    by_name = {pod.name: pod for pod in running}
    found: dict[str, set[str]] = {}
    strangers = set()
    for worker in workers:
        base = worker.name.rpartition("-")[0]
        pod = by_ip.get(worker.host) or by_name.get(worker.name) or by_name.get(base)
        if pod is None:
            strangers.add(worker.address)
        else:
            found.setdefault(pod.uid, set()).add(worker.address)
    return {uid: frozenset(addresses) for uid, addresses in found.items()}, frozenset(strangers)
