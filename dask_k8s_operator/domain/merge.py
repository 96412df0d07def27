"""What the user's template says, laid over the operator's defaults, as kubectl's strategic merge would do it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

_ATOMIC = frozenset(
    {"livenessProbe", "readinessProbe", "startupProbe", "preStop", "postStart", "strategy", "command", "args"}
)
"""Fields that make sense only as a whole: half of one probe and half of another is neither."""

_BY_NAME = frozenset({"containers", "initContainers"})
"""Lists whose items are merged field by field with the default of the same name."""

_REPLACED_BY_KEY: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "env": (("name",),),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "ports": (("name",), ("containerPort", "protocol"), ("port", "protocol")),
}
"""Lists whose items replace the default that agrees with them in one of these keys."""

_DEFAULTS = {"protocol": "TCP"}


def merge(default: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the user's object over a default one; neither is changed.

    Objects are merged field by field; `containers` by name; `env`, `volumes`, `ports` and
    `volumeMounts` item by item, the user's item replacing the default that it names; any other list, and anything that
    makes sense only as a whole (a probe, a lifecycle handler, a command), is replaced. A default that the user
    replaces by null is gone.
    """
    merged = dict(default)
    for key, value in user.items():
        merged[key] = _merge_field(key, merged.get(key), value)
        if value is None:
            del merged[key]
    return merged


def _merge_field(key: str, default: Any, user: Any) -> Any:
    if key in _ATOMIC:
        return user
    if isinstance(default, Mapping) and isinstance(user, Mapping):
        return merge(default, user)
    if _is_list(default) and _is_list(user):
        if key in _BY_NAME:
            return _merge_by_name(default, user)
        if key in _REPLACED_BY_KEY:
            return _replace_by_key(default, user, _REPLACED_BY_KEY[key])
    return user


def _merge_by_name(default: Sequence[Any], user: Sequence[Any]) -> list[Any]:
    theirs = {_get(item, "name"): item for item in user}
    ours = {item["name"] for item in default}
    merged = [merge(item, theirs.get(item["name"], {})) for item in default]
    return merged + [item for item in user if _get(item, "name") not in ours]


def _replace_by_key(default: Sequence[Any], user: Sequence[Any], keys: tuple[tuple[str, ...], ...]) -> list[Any]:
    taken = {(key, _values(item, key)) for item in user for key in keys}
    kept = [
        item for item in default if not any((key, _values(item, key)) in taken for key in keys if _values(item, key))
    ]
    # Defaults first: a variable may be used as $(NAME) only after it was defined.
    return [*kept, *user]


def _values(item: Any, key: tuple[str, ...]) -> tuple[Any, ...] | None:
    values = tuple(_get(item, name) for name in key)
    return None if None in values else values


def _get(item: Any, name: str) -> Any:
    found = item.get(name, _DEFAULTS.get(name)) if isinstance(item, Mapping) else None
    return found if isinstance(found, Hashable) else None  # an object is no name; what it is, the API server refuses


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
