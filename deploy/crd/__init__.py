"""Composes the CustomResourceDefinition from what this project says and what Kubernetes says of its own types.

`source.yaml` has all that is this project's. Where it says `$ref: PodSpec`, the result has the fields of Kubernetes'
own PodSpec, with what stands beside the `$ref` laid over them. `kubernetes.json` has those types;
`integration/openapi.py` takes them from Kubernetes' OpenAPI. Of all this, a kustomization needs the result alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

SOURCE = Path(__file__).with_name("source.yaml")
TYPES = Path(__file__).with_name("kubernetes.json")
RESULT = Path(__file__).resolve().parents[1] / "base" / "crd.yaml"

HEADER = "# Generated. Edit deploy/crd/source.yaml, then run: python -m deploy.crd\n"

_QUANTITY = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""

_SPECIAL: Mapping[str, Json] = {
    "IntOrString": {"x-kubernetes-int-or-string": True},
    # A fraction without quotes is a quantity, too, so that it can't be an int-or-string. Only texts meet the pattern.
    "Quantity": {"x-kubernetes-preserve-unknown-fields": True, "pattern": _QUANTITY},
}


def compose(source: str, types: Mapping[str, Json]) -> str:
    """The text of `deploy/base/crd.yaml`.

    Args:
        source: the text of `source.yaml`.
        types: the content of `kubernetes.json`.

    Raises:
        KeyError: the source refers to a type that is not there.
    """
    return HEADER + yaml.dump(
        _resolve(yaml.safe_load(source), types), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True
    )


def write() -> None:
    """Write `deploy/base/crd.yaml`."""
    RESULT.write_text(compose(SOURCE.read_text(), json.loads(TYPES.read_text())))


class _Dumper(yaml.SafeDumper):
    """Repeats what occurs twice instead of referring to it: not every reader of manifests knows YAML's aliases."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _resolve(node: Any, types: Mapping[str, Json]) -> Any:
    if isinstance(node, list):
        return [_resolve(item, types) for item in node]
    if not isinstance(node, Mapping):
        return node
    beside = {key: _resolve(value, types) for key, value in node.items() if key != "$ref"}
    return _overlay(_expand(types[node["$ref"]], types), beside) if "$ref" in node else beside


def _expand(node: Json, types: Mapping[str, Json]) -> Json:
    """A type of Kubernetes' as a structural schema.

    Every field may be null, which removes a default of the operator's, and unknown fields are kept at every level: this
    project's users may have a newer Kubernetes than it knows.
    """
    if "$ref" in node:
        name = node["$ref"]
        return dict(_SPECIAL[name]) if name in _SPECIAL else _expand(types[name], types)
    schema = dict(node)
    if "properties" in node:
        fields = {name: {**_expand(field, types), "nullable": True} for name, field in node["properties"].items()}
        schema |= {"x-kubernetes-preserve-unknown-fields": True, "properties": fields}
    for inner in ("items", "additionalProperties"):
        if inner in node:
            schema[inner] = _expand(node[inner], types)
    return schema


def _overlay(under: Json, over: Json) -> Json:
    """The description first, as people read it, then what is below with what is laid over it; null removes a field."""
    merged = {key: over[key] for key in ("type", "description") if key in over} | under
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(under.get(key), Mapping)
        merged[key] = _overlay(under[key], dict(value)) if both else value
    return {key: value for key, value in merged.items() if value is not None}
