"""Random walks through worlds that are too large to see all of: a fixed number, `nox -s model` makes more."""

from __future__ import annotations

import pytest

from tests.model.walks import Walk, so_many

TestWalk = Walk.TestCase
TestWalk.settings = so_many(100)

pytestmark = pytest.mark.very_many_cases
