"""Clusters as users write them."""

from __future__ import annotations

from typing import Any

import yaml

from dask_k8s_operator.domain.cluster import Cluster

SHORTEST = """
apiVersion: dask.charmtx.com/v1alpha1
kind: Cluster
metadata: {name: short}
spec:
  image: dask:1
  workers: {replicas: 3}
"""

USUAL = """
apiVersion: dask.charmtx.com/v1alpha1
kind: Cluster
metadata: {name: team-a}
spec:
  scheduler:
    service: {type: ClusterIP}
    template:
      metadata: {annotations: {team: a}}
      spec:
        priorityClassName: scheduler
        containers:
          - name: scheduler
            image: IMAGE
            command: [bash, -c]
            args: ["pip install prometheus-client && dask scheduler"]
            resources: {limits: {cpu: 500m, memory: 512Mi}}
  workers:
    replicas: 1
    template:
      spec:
        serviceAccountName: research
        containers:
          - name: worker
            image: IMAGE
            command: [dask, worker]
            args:
              - --no-nanny
              - --name=$(DASK_WORKER_NAME)
              - --listen-address=tcp://$(DASK_WORKER_ADDRESS):$(DASK_WORKER_PORT)
              - --dashboard-address=$(DASK_WORKER_ADDRESS):$(DASK_DASHBOARD_PORT)
            env: [{name: MALLOC_TRIM_THRESHOLD_, value: "65536"}]
"""


def cluster(text: str, **spec: Any) -> Cluster:
    """Read a Cluster as the API server would give it back in the namespace `science`."""
    manifest = yaml.safe_load(text)
    manifest["metadata"] |= {"namespace": "science", "uid": "u1", "resourceVersion": "1", "generation": 1}
    manifest["spec"] |= spec
    return Cluster.from_manifest(manifest)
