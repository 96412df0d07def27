"""`python -m integration.openapi` takes the types that the CustomResourceDefinition uses from Kubernetes' own OpenAPI.

The source is the module that the test node is built from, in the version that `integration/binaries/go.mod` names. When
that version changes, run it, and `python -m deploy.crd` after it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.crd import TYPES
from integration.cluster import binaries
from integration.cluster.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Json = dict[str, Any]

ROOTS = ("PodSpec", "ServiceSpec")
"""The types that `deploy/crd/source.yaml` refers to."""

_OPENAPI = "api/openapi-spec/v3/api__v1_openapi.json"

_SCALARS = frozenset({"Quantity", "IntOrString"})
"""Types that are written in more than one way, for which `deploy/crd` has schemas of its own."""

_KEPT = ("type", "format", "required")
"""Of each level. Defaults stay with Kubernetes, and so does how its lists are merged."""

_OPTIONAL = {"PodSpec": {"containers"}}
"""What Kubernetes requires and the operator has a default for."""

_METADATA: Json = {
    "type": "object",
    "properties": {
        name: {"type": "object", "additionalProperties": {"type": "string"}} for name in ("labels", "annotations")
    },
}
"""Of an ObjectMeta inside a template, the part that means something."""


def types(openapi: Mapping[str, Any]) -> dict[str, Json]:
    """The types of `ROOTS` and those that they consist of, by their short names, as far as a schema needs them.

    Args:
        openapi: Kubernetes' OpenAPI of `v1`.
    """
    known = {name.rpartition(".")[2]: schema for name, schema in openapi["components"]["schemas"].items()}
    found: dict[str, Json] = {}
    missing = list(ROOTS)
    while missing:
        name = missing.pop()
        if name in found or name in _SCALARS:
            continue
        found[name] = _METADATA if name == "ObjectMeta" else _without(_reduce(known[name]), _OPTIONAL.get(name, set()))
        missing += _references(found[name])
    return dict(sorted(found.items()))


def write() -> None:
    """Write `deploy/crd/kubernetes.json`."""
    TYPES.write_text(text(types(read(Paths.here().cache))))


def read(cache: Path) -> Json:
    """Kubernetes' OpenAPI of `v1`.

    Raises:
        ProviderError: the module could not be had.
    """
    found: Json = json.loads((binaries.module_folder("k8s.io/kubernetes", cache=cache) / _OPENAPI).read_text())
    return found


def text(found: Mapping[str, Json]) -> str:
    """The types as the file has them: one a line, so that a new version's changes can be read."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(schema)}" for name, schema in found.items())
    return f"{{\n{lines}\n}}\n"


def _reduce(schema: Json) -> Json:
    (reference,) = [s["$ref"] for s in (schema, *schema.get("allOf", ())) if "$ref" in s] or [None]
    if reference is not None:
        return {"$ref": reference.rpartition(".")[2]}
    reduced = {key: schema[key] for key in _KEPT if key in schema}
    if "properties" in schema:
        reduced["properties"] = {name: _reduce(field) for name, field in schema["properties"].items()}
    return reduced | {key: _reduce(schema[key]) for key in ("items", "additionalProperties") if key in schema}


def _without(schema: Json, optional: set[str]) -> Json:
    required = [name for name in schema.get("required", ()) if name not in optional]
    return {key: value for key, value in schema.items() if key != "required"} | (
        {"required": required} if required else {}
    )


def _references(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"]
    children = [
        *schema.get("properties", {}).values(),
        *(schema[k] for k in ("items", "additionalProperties") if k in schema),
    ]
    for child in children:
        yield from _references(child)


if __name__ == "__main__":
    write()
