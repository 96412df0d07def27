"""The command line: what it says, what it takes, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from dask_k8s_operator import __version__
from dask_k8s_operator.cli import main
from dask_k8s_operator.controller import operator
from dask_k8s_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts:
  - {name: here, context: {cluster: c, user: u, namespace: science}}
  - {name: anywhere, context: {cluster: c, user: u}}
users: [{name: u, user: {}}]
current-context: here
"""


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what belongs to the process: its environment and its logging."""
    monkeypatch.setenv("KUBECONFIG", "nowhere")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    root, quiet = logging.getLogger(), [logging.getLogger(n) for n in ("httpx", "httpcore", "kopf", "asyncio")]
    handlers, level, levels = root.handlers[:], root.level, [logger.level for logger in quiet]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger, before in zip(quiet, levels, strict=True):
        logger.setLevel(before)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig that can be read; nobody listens where it points to."""
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the operator was started with; it isn't really."""
    settings: list[Settings] = []

    async def run(given: Settings) -> None:
        settings.append(given)

    monkeypatch.setattr(operator, "run", run)
    return settings


def call(*args: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_the_commands(option: str) -> None:
    result = call(option)
    assert result.exit_code == 0
    assert "Run the operator until SIGTERM or Ctrl-C." in result.output


def test_help_of_run_explains_each_option_and_its_default() -> None:
    output = " ".join(call("run", "--help").output.split())
    for part in (
        "-n, --namespace NS Look after the Clusters of this namespace",
        "-A, --all-namespaces",
        "--kubeconfig FILE",
        "--scheduler-access [auto|direct|proxy]",
        "--health-address HOST:PORT",
        "[default: 0.0.0.0:8080]",
        "--concurrency",
        "--log-format [text|json]",
        "--log-level [debug|info|warning|error]",
        "DASK_K8S_OPERATOR_RUN_LOG_FORMAT=json",
    ):
        assert part in output


def test_version() -> None:
    assert call("--version").output == f"dask-k8s-operator, version {__version__}\n"


def test_defaults(kubeconfig: Path, started: list[Settings]) -> None:
    assert call("run", "--kubeconfig", kubeconfig).exit_code == 0
    assert started == [
        Settings(
            namespaces=("science",),
            kubeconfig=kubeconfig,
            scheduler_access="auto",
            health_host="0.0.0.0",  # noqa: S104 -- probes come from outside the pod
            health_port=8080,
            concurrency=64,
            lease=None,
        )
    ]


@pytest.mark.parametrize(
    ("args", "attribute", "value"),
    [
        (["-n", "a"], "namespaces", ("a",)),
        (["-n", "a", "--namespace", "b"], "namespaces", ("a", "b")),
        (["-A"], "namespaces", ()),
        (["--all-namespaces"], "namespaces", ()),
        (["--scheduler-access", "proxy"], "scheduler_access", "proxy"),
        (["--health-address", "127.0.0.1:0"], "health_port", 0),
        (["--health-address", "127.0.0.1:0"], "health_host", "127.0.0.1"),
        (["--health-address", "[::]:9000"], "health_host", "::"),
        (["--concurrency", "1"], "concurrency", 1),
        (["-n", "a", "--lease", "x"], "lease", ("science", "x")),
        (["--lease", "elsewhere/x"], "lease", ("elsewhere", "x")),
    ],
)
def test_options(args: list[str], attribute: str, value: object, kubeconfig: Path, started: list[Settings]) -> None:
    assert call("run", "--kubeconfig", kubeconfig, *args).exit_code == 0
    assert getattr(started[0], attribute) == value


def test_options_by_environment(kubeconfig: Path, started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_K8S_OPERATOR_RUN_KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("DASK_K8S_OPERATOR_RUN_NAMESPACES", "a b")
    monkeypatch.setenv("DASK_K8S_OPERATOR_RUN_CONCURRENCY", "3")
    assert call("run").exit_code == 0
    assert (started[0].namespaces, started[0].concurrency) == (("a", "b"), 3)


def test_a_context_without_a_namespace_means_default(kubeconfig: Path, started: list[Settings]) -> None:
    kubeconfig.write_text(KUBECONFIG.replace("current-context: here", "current-context: anywhere"))
    call("run", "--kubeconfig", kubeconfig)
    assert started[0].namespaces == ("default",)


def test_both_clients_get_the_same_file(kubeconfig: Path, started: list[Settings]) -> None:
    call("run", "--kubeconfig", kubeconfig)
    assert started
    assert os.environ["KUBECONFIG"] == str(kubeconfig)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-n", "a", "-A"], "--namespace and --all-namespaces exclude each other: give one of them"),
        (["--health-address", "8080"], "'8080' is not HOST:PORT, such as 0.0.0.0:8080"),
        (["--health-address", ":8080"], "':8080' is not HOST:PORT"),
        (["--health-address", "localhost:http"], "'localhost:http' is not HOST:PORT"),
        (["--health-address", "localhost:65536"], "'localhost:65536' is not HOST:PORT"),
        (["--concurrency", "0"], "0 is not in the range x>=1"),
        (["--scheduler-access", "magic"], "'magic' is not one of 'auto', 'direct', 'proxy'"),
        (["--log-level", "loud"], "'loud' is not one of"),
        (["--kubeconfig", "/"], "File '/' is a directory."),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    args: list[str], message: str, kubeconfig: Path, started: list[Settings]
) -> None:
    result = call("run", "--kubeconfig", kubeconfig, *args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert started == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is no kubeconfig"),
        ("just a text", "it is no kubeconfig"),
        ("clusters: [", "while parsing"),
        (KUBECONFIG.replace("current-context: here", "current-context: gone"), "gone"),
        (KUBECONFIG.replace("cluster: c,", "cluster: d,"), "d in"),
    ],
)
@pytest.mark.parametrize("scope", [[], ["-A"]])
def test_a_kubeconfig_that_cant_be_used_is_one_line(
    content: str, reason: str, scope: list[str], kubeconfig: Path
) -> None:
    kubeconfig.write_text(content)
    result = call("run", "--kubeconfig", kubeconfig, *scope)
    assert result.exit_code == 1
    message = result.stderr.strip()
    assert message.startswith(f"dask-k8s-operator: can't use the kubeconfig {kubeconfig}: ")
    assert reason in message
    assert message.endswith(
        "Name a working one with --kubeconfig or KUBECONFIG, or run inside a cluster with a service account"
    )
    assert "\n" not in message


@pytest.mark.parametrize("scope", [[], ["-A"]])
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_kubeconfig_that_isnt_there_is_one_line(
    *, by_variable: bool, scope: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/no/such/file")
    result = call("run", *scope, *([] if by_variable else ["--kubeconfig", "/no/such/file"]))
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("dask-k8s-operator: can't use the kubeconfig /no/such/file: there is no such file. Name a")


def test_no_answer_is_one_line(kubeconfig: Path) -> None:
    """As a process of its own: what a client leaves open would be told at its end."""
    command = [sys.executable, "-m", "dask_k8s_operator", "run", "--kubeconfig", str(kubeconfig)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 -- our own
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("dask-k8s-operator: no answer from the API server to GET /version: ")


def logs(monkeypatch: pytest.MonkeyPatch, log: Callable[[], None], *args: str | Path) -> list[str]:
    """The lines that the operator writes while `log` is called in its place."""

    async def run(_: Settings) -> None:
        log()

    monkeypatch.setattr(operator, "run", run)
    return call("run", *args).stderr.splitlines()


def test_json_log(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def log() -> None:
        try:
            int("no\nnumber")
        except ValueError:
            logging.getLogger("some.where").exception("two\nlines of %s", "text")

    [line] = logs(monkeypatch, log, "--kubeconfig", kubeconfig, "--log-format", "json")
    entry = json.loads(line)
    assert datetime.fromisoformat(entry.pop("time")).utcoffset() is not None
    assert entry.pop("exception").startswith("Traceback (most recent call last):\n")
    assert entry == {"level": "error", "logger": "some.where", "message": "two\nlines of text"}


def test_text_log(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = logs(monkeypatch, lambda: logging.getLogger("some.where").info("hello"), "--kubeconfig", kubeconfig)
    assert line.endswith("INFO    some.where: hello")


@pytest.mark.parametrize(
    ("level", "told"),
    [("error", ["error"]), ("warning", ["error", "warning", "kopf"]), ("info", ["error", "warning", "kopf", "info"])],
)
def test_log_levels(level: str, told: list[str], kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries tell each request and each event as info: that is for who debugs."""

    def log() -> None:
        logging.getLogger("ours").error("error")
        logging.getLogger("ours").warning("warning")
        logging.getLogger("kopf.objects").warning("kopf")
        logging.getLogger("kopf.objects").info("noise")
        logging.getLogger("httpx").info("noise")
        logging.getLogger("ours").info("info")
        logging.getLogger("ours").debug("debug")

    lines = logs(monkeypatch, log, "--kubeconfig", kubeconfig, "--log-level", level)
    assert [line.rpartition(": ")[2] for line in lines] == told
    lines = logs(monkeypatch, log, "--kubeconfig", kubeconfig, "--log-level", "debug")
    assert {"noise", "debug"} <= {line.rpartition(": ")[2] for line in lines}
