"""A command that is run in the foreground behaves as if it were run directly."""

from __future__ import annotations

import os
import signal
import subprocess
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_the_command_is_being_started_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    real = subprocess.Popen

    def interrupted(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), number)
        return real(argv, env=env)

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    script = "import time; time.sleep(30)"
    assert foreground.run([sys.executable, "-c", script], kubeconfig=tmp_path) == 128 + number


def test_the_command_answers_the_terminals_interruption_itself(tmp_path: Path) -> None:
    script = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    assert foreground.run([sys.executable, "-c", script], kubeconfig=tmp_path) == 0


def test_a_command_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="no-such-command: there is no such command"):
        foreground.run(["no-such-command"], kubeconfig=tmp_path)
