"""Which fields of an object are the operator's, as the API server keeps it in `metadata.managedFields`. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields = Mapping[str, Any]
"""A set of fields: `f:NAME` is a field, `k:{…}` an item of a list by its keys, `v:…` one by its value. Where nothing is
named below something, it is there as a whole.

https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.35/#fieldsv1-v1-meta
"""

Entry = Mapping[str, Any]
"""One of `metadata.managedFields`."""

_EARLIER = "OpenAPI-Generator"
"""The name of operators that named none, by their client's User-Agent. Scripts of others may have the same."""

_KEY_DEFAULTS = {"protocol": "TCP"}
_NOTHING: tuple[Any, ...] = (None, False, 0, "", {}, [])


def owned_fields(managed: Iterable[Entry]) -> Fields:
    """All fields that the operator has set and nobody has set otherwise since."""
    return _union(entry.get("fieldsV1", {}) for entry in managed if _is_ours(entry))


def covers(fields: Fields, value: Any) -> bool:
    """Whether all that a value sets is among these fields; True where there are none, as nothing is known then.

    What is empty, zero or false isn't looked for: of objects that are created, the API server drops most of it.
    """
    if not fields:
        return True
    if isinstance(value, Mapping):
        return all(
            inner in _NOTHING or (f"f:{key}" in fields and covers(fields[f"f:{key}"], inner))
            for key, inner in value.items()
        )
    return isinstance(value, Sequence) and all(_covers_item(fields, item) for item in value)


def last_written(managed: Iterable[Entry]) -> datetime | None:
    """When the operator last changed something of the object, by the API server's clock."""
    times = [datetime.fromisoformat(entry["time"]) for entry in managed if _is_ours(entry) and "time" in entry]
    return max(times, default=None)


def taken_over(managed: Sequence[Entry]) -> list[Entry] | None:
    """The entries, with all that the operator has ever set as set by server-side apply; None: they are so already.

    Only of what it has applied does the API server remove what it no longer applies. What it has created by POST, or
    patched, is kept under the same name as an entry of another sort. kubectl does the same with its own entries:
    https://github.com/kubernetes/kubernetes/blob/v1.35.4/staging/src/k8s.io/client-go/util/csaupgrade/upgrade.go
    """
    taken = [entry for entry in managed if _is_ours(entry) and (entry["operation"] != "Apply") and _part(entry)]
    if not taken:
        return None
    applied = [entry for entry in managed if _is_ours(entry) and entry["operation"] == "Apply"]
    others = [entry for entry in managed if entry not in taken and entry not in applied]
    rests = [{**entry, "fieldsV1": _without(entry["fieldsV1"], _part(entry))} for entry in taken]
    latest = max((*applied, *taken), key=lambda entry: str(entry.get("time", "")))
    fields = _union([*(entry["fieldsV1"] for entry in applied), *map(_part, taken)])
    whole = {**latest, "manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
    return [*others, *(rest for rest in rests if rest["fieldsV1"]), whole]


def _is_ours(entry: Entry) -> bool:
    return entry.get("manager") in {names.FIELD_MANAGER, _EARLIER} and "subresource" not in entry


def _part(entry: Entry) -> Fields:
    """What of an entry is certainly the operator's: earlier ones set nothing in the metadata that would change."""
    fields: Fields = entry.get("fieldsV1", {})
    return fields if entry["manager"] == names.FIELD_MANAGER else {k: v for k, v in fields.items() if k == "f:spec"}


def _covers_item(fields: Fields, item: Any) -> bool:
    for key, inner in fields.items():
        kind, _, text = key.partition(":")
        if kind == "v" and json.loads(text) == item:
            return True
        if kind == "k" and isinstance(item, Mapping) and _is_named(item, json.loads(text)):
            return covers(inner, item)
    return False


def _is_named(item: Mapping[str, Any], keys: Mapping[str, Any]) -> bool:
    return all(item.get(name, _KEY_DEFAULTS.get(name)) == value for name, value in keys.items())


def _union(sets: Iterable[Fields]) -> Fields:
    merged: dict[str, Any] = {}
    for fields in sets:
        for key, inner in fields.items():
            merged[key] = _both(merged[key], inner) if key in merged else inner
    return merged


def _both(one: Fields, other: Fields) -> Fields:
    # Something with nothing below is in the set itself, which is what a dot says beside what is below.
    return _union([one or {".": {}}, other or {".": {}}]) if one or other else {}


def _without(fields: Fields, part: Fields) -> Fields:
    return {key: inner for key, inner in fields.items() if key not in part}
