"""The types of Kubernetes' that the CustomResourceDefinition has."""

from __future__ import annotations

from deploy.crd import TYPES
from integration import openapi
from integration.cluster.paths import Paths


def test_are_those_of_the_version_that_the_node_is_built_from() -> None:
    assert TYPES.read_text() == openapi.text(openapi.types(openapi.read(Paths.here().cache)))
