"""The worlds that are explored: small ones with the tests, larger ones by `nox -s model`, the largest with `--long`."""

from __future__ import annotations

from dataclasses import fields

from tests.model.world import Rules


def _may(*what: str) -> frozenset[str]:
    return frozenset(what)


SMALL = (
    Rules(workers=4, keys=2, rpc=False),
    Rules(workers=2, keys=1, split=True),
    Rules(workers=1, keys=1, crashes=1, actions=2),
    Rules(workers=2, keys=1, copies=2, rpc=False, crashes=1),
    Rules(workers=1, keys=1, faults=1, actions=2),
    Rules(workers=2, keys=1, user=_may("scale", "delete")),
    Rules(workers=1, keys=1, user=_may("scale", "delete", "put", "release")),
    Rules(workers=1, keys=0, tasks=1, actions=2, user=_may("scale", "submit", "kill")),
    Rules(workers=2, keys=1, hook=False, actions=1, user=_may("scale", "kill", "delete")),
    Rules(workers=1, keys=1, pending=1, hook=False, actions=2, user=_may("scale", "put")),
    Rules(workers=2, keys=1, hidden=True, actions=2),
    Rules(workers=2, keys=1, stranger=True),
    Rules(workers=1, keys=1, deadline=True, actions=2),
    Rules(workers=1, keys=0, second=True, hook=False, rpc=False, user=_may("delete")),
    Rules(workers=2, keys=1, user=_may("edit"), crashes=1),
    Rules(workers=2, keys=1, user=_may("edit"), surge=0, unavailable=1),
    Rules(workers=2, keys=1, user=_may("scale", "freeze"), actions=2),
)

LARGER = (
    Rules(workers=4, keys=4, user=_may("scale", "delete"), crashes=1),
    Rules(workers=3, keys=2, crashes=1),
    Rules(workers=2, keys=2, user=_may("scale", "edit"), actions=2),
    Rules(workers=2, keys=1, user=_may("scale", "delete"), actions=2, crashes=1),
    Rules(workers=2, keys=1, faults=1, late=True),
)

LARGEST = (
    Rules(workers=2, keys=2, user=_may("scale", "edit", "delete"), actions=2, crashes=1),
    Rules(workers=3, keys=2, user=_may("scale", "delete"), actions=2, crashes=1),
    Rules(workers=1, keys=1, user=_may("scale", "delete", "put", "release"), actions=2),
    Rules(workers=1, keys=0, second=True, user=_may("delete")),
)


def named(rules: Rules) -> str:
    """What is not as usual in these worlds."""
    changed = [(f.name, getattr(rules, f.name)) for f in fields(rules) if getattr(rules, f.name) != f.default]
    return " ".join("+".join(sorted(value)) if name == "user" else f"{name}={value:d}" for name, value in changed)
