"""How conditions and Events put what they say of many pods. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED = 5
"""So many are named; for more than that, and one, there is a count."""

_EXACT = 10
"""From so many on, only the first digit is told."""


def listed(names: Sequence[str]) -> str:
    """Names as a person would list them: "a, b", or "a, b, c, d, e and 95 more"."""
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"


def about(count: int, what: str) -> str:
    """How many there are, in words that aren't others at each look: "1 task", "9 tasks", "about 300 tasks"."""
    if count < _EXACT:
        return f"{count} {what}" if count == 1 else f"{count} {what}s"
    size: int = 10 ** (len(str(count)) - 1)
    return f"about {count // size * size} {what}s"
