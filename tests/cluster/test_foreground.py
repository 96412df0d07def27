"""A command that is run in the foreground behaves as if it were run directly."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from integration.cluster import foreground
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")

# Says that it is ready by a file, and answers a signal by a status of its own.
_SCRIPT = """
import pathlib, signal, sys, time
signal.signal(signal.{name}, lambda *_: sys.exit(7))
pathlib.Path({ready!r}).touch()
time.sleep(30)
"""


def test_environment_and_exit_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = "import os, sys; print(os.environ['KUBECONFIG']); sys.exit(3)"
    assert foreground.run([sys.executable, "-c", script], kubeconfig=tmp_path) == 3
    assert capfd.readouterr().out == f"{tmp_path}\n"


def test_a_command_that_a_signal_ended(tmp_path: Path) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert foreground.run([sys.executable, "-c", script], kubeconfig=tmp_path) == 128 + 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"

    def not_passed_on(*_: object) -> None:
        pytest.fail("the signal was taken here instead of being passed on")

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.signal(number, not_passed_on)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        script = _SCRIPT.format(name=number.name, ready=str(ready))
        assert foreground.run([sys.executable, "-c", script], kubeconfig=tmp_path) == 7
        assert signal.getsignal(number) is not_passed_on, "handlers are put back"
    finally:
        thread.join()
        signal.signal(number, before)


def test_a_command_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="no-such-command: there is no such command"):
        foreground.run(["no-such-command"], kubeconfig=tmp_path)
