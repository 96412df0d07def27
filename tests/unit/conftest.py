"""Settings of the tests of values."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a machine that is busy with other things is no failure of the code.
settings.register_profile("project", deadline=None, max_examples=100)
settings.load_profile("project")
