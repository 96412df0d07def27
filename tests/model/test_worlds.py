"""Nothing that the operator promises is broken in any small world, whatever happens in whatever order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import EXPLORED
from tests.model.explore import explore
from tests.model.worlds import SMALL, named

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.world import Rules

pytestmark = pytest.mark.very_many_cases


@pytest.mark.parametrize("rules", SMALL, ids=named)
def test_every_state_is_safe_and_comes_to_rest(rules: Rules, record_property: Callable[[str, object], None]) -> None:
    found = explore(rules)
    record_property(EXPLORED, str(found))
    assert found.violation is None, str(found)
