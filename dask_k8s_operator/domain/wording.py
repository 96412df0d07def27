"""How conditions and Events put what they say of many pods. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED = 5
"""So many are named; for more than that, and one, there is a count."""


def listed(names: Sequence[str]) -> str:
    """Names as a person would list them: "a, b", or "a, b, c, d, e and 95 more"."""
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
