"""A namespace that is looked at several times a second for minutes: without a kubectl process for each look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import httpx

from integration.kube import Kube, Objects

if TYPE_CHECKING:
    from integration.kube import Manifest

_COLLECTIONS = {
    "Cluster": "/apis/dask.charmtx.com/v1alpha1/namespaces/{}/clusters",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
}


class PolledKube(Kube):
    """As `Kube`, but what a Cluster consists of is read over a connection that stays."""

    def __init__(self, namespace: str, server: str) -> None:
        """Use a namespace.

        Args:
            namespace: which.
            server: the URL of an API server that takes requests without credentials.
        """
        super().__init__(namespace)
        self._client = httpx.Client(base_url=server, trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def objects(self) -> Objects:
        """Read what a Cluster consists of."""
        return Objects(tuple(item for kind in _COLLECTIONS for item in self._list(kind)))

    def _list(self, kind: str) -> list[Manifest]:
        answer = self._client.get(_COLLECTIONS[kind].format(self.namespace))
        answer.raise_for_status()
        return [{"kind": kind, **item} for item in answer.json()["items"]]
