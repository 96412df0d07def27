"""The definition of the resource and the example, as files have them."""

from __future__ import annotations

import pytest

from tests.deploy.files import BASE, EXAMPLE, Json, of_kind


@pytest.fixture(scope="module")
def crd() -> Json:
    """The definition of the resource."""
    return of_kind(BASE / "crd.yaml", "CustomResourceDefinition")


@pytest.fixture(scope="module")
def version(crd: Json) -> Json:
    """Its only version."""
    (version,) = crd["spec"]["versions"]
    return dict(version)


@pytest.fixture(scope="module")
def schema(version: Json) -> Json:
    """What is said there of a Cluster's fields."""
    return dict(version["schema"]["openAPIV3Schema"])


@pytest.fixture(scope="module")
def example() -> Json:
    """The example's Cluster as the API server would hold it."""
    cluster = of_kind(EXAMPLE / "cluster.yaml", "Cluster")
    cluster["metadata"] |= {"namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
    return cluster
