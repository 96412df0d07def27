"""What happens, as lines with the seconds since it began."""

from __future__ import annotations

import time


class Timeline:
    """Prints what happens, with the seconds since it began."""

    def __init__(self) -> None:
        """Begin."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def say(self, line: str) -> None:
        """Print one line."""
        print(f"{self.seconds:6.1f} s  {line}", flush=True)
