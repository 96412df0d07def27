"""A newer operator whose defaults are others leaves what an earlier one made as it is."""

from __future__ import annotations

import pytest

from dask_k8s_operator.domain import hook, manifests
from dask_k8s_operator.domain.manifests import scheduler_deployment, worker_pod
from dask_k8s_operator.domain.revision import worker_revision
from tests.unit.builders import cluster, decide, pods, workers


@pytest.mark.parametrize(
    ("module", "default", "changed"),
    [
        (manifests, "WORKER_GRACE_SECONDS", 301),
        (manifests, "HTTP_ROUTES", ("distributed.http.scheduler.api",)),
        (hook, "_SOURCE", "print('another hook')"),
    ],
)
def test_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch, module: object, default: str, changed: object) -> None:
    spec = cluster(2)
    of_now = pods("ab", revision=worker_revision(spec))
    given = [worker_pod(spec, "x"), scheduler_deployment(spec)]
    monkeypatch.setattr(module, default, changed)
    assert [worker_pod(spec, "x"), scheduler_deployment(spec)] != given, "it is no default of what is made"
    assert decide(of_now, replicas=2, scheduler=workers("ab")).actions == ()
