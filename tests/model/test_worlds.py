"""Nothing that the operator promises is broken in any small world, whatever happens in whatever order."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.model.explore import explore
from tests.model.world import Rules


def _may(*what: str) -> frozenset[str]:
    return frozenset(what)


WORLDS = [
    Rules(workers=2, keys=1),
    Rules(workers=3, keys=2, rpc=False),
    Rules(workers=2, keys=1, split=True),
    Rules(workers=1, keys=1, crashes=1, actions=2),
    Rules(workers=1, keys=1, faults=1, actions=2),
    Rules(workers=1, keys=1, actions=2, user=_may("scale", "delete", "put", "release")),
    Rules(workers=1, keys=0, tasks=1, actions=2, user=_may("scale", "submit", "kill")),
    Rules(workers=2, keys=1, hook=False, actions=1, user=_may("scale", "kill", "delete")),
    Rules(workers=1, keys=1, pending=1, hook=False, actions=2, user=_may("scale", "put")),
    Rules(workers=2, keys=1, rpc=False),
    Rules(workers=2, keys=1, hidden=True, actions=2),
    Rules(workers=2, keys=1, stranger=True),
    Rules(workers=1, keys=1, deadline=True, actions=2),
    Rules(workers=1, keys=0, second=True, user=_may("delete")),
]


def _name(rules: Rules) -> str:
    changed = [(f.name, getattr(rules, f.name)) for f in fields(rules) if getattr(rules, f.name) != f.default]
    return " ".join("+".join(sorted(value)) if name == "user" else f"{name}={value:d}" for name, value in changed)


@pytest.mark.parametrize("rules", WORLDS, ids=_name)
def test_every_state_is_safe_and_comes_to_rest(rules: Rules) -> None:
    found = explore(rules)
    print(f"{_name(rules)}: {found}")
    assert found.violation is None, str(found)
