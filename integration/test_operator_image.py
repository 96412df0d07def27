"""The operator's image under an ordinary Docker daemon, as locked up as a careful administrator would run it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

import dask_k8s_operator
from integration.cluster import docker
from integration.cluster.choice import select
from integration.cluster.existing import Existing
from integration.cluster.images import Builder, operator_image
from integration.cluster.k3s import K3s
from integration.cluster.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_SECONDS = 300
_INSIDE = "/config/kubeconfig"
# What a process may still do, told by the process itself.
_SELF_PORTRAIT = """
import json, os, pathlib

def writable(folder):
    try:
        pathlib.Path(folder, "probe").touch()
    except OSError:
        return False
    return True

lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":", 1) for line in lines)
folders = ("/", "/tmp", "/opt/venv", os.path.expanduser("~"))
print(json.dumps({
    "uid": os.getuid(),
    "gid": os.getgid(),
    "capabilities": int(status["CapBnd"], 16),
    "no new privileges": int(status["NoNewPrivs"]),
    "writable": [folder for folder in folders if writable(folder)],
    "network": os.listdir("/sys/class/net"),
}))
"""


@dataclass(frozen=True)
class Outcome:
    """How a container ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The operator's image in a Docker daemon that testcontainers will use: k3s's, or one of our own."""
    provider = select()
    if isinstance(provider, Existing):
        pytest.skip("the images of an existing cluster are in its registry, and this machine may have no Docker")
    with pytest.MonkeyPatch.context() as patch:
        # What would clean up after a killed test run is an image from a registry; the daemon is gone by itself then.
        patch.setattr(testcontainers_config, "ryuk_disabled", True)
        if isinstance(provider, K3s):
            yield provider.images().operator
            return
        paths = Paths.here()
        builder = Builder.here(paths.cache)
        archive = builder.build(operator_image(paths.checkout))
        with docker.daemon(paths) as address:
            patch.setenv("DOCKER_HOST", address)
            docker.load(address, archive.file)
            yield archive.reference


@pytest.fixture
def run(image: str) -> Callable[..., Outcome]:
    """Runs the image to its end with nothing that it could do harm with."""

    def run(*arguments: str, kubeconfig: Path | None = None, entrypoint: Sequence[str] | None = None) -> Outcome:
        container = DockerContainer(image, docker_client_kw={"timeout": _SECONDS}).with_command(shlex.join(arguments))
        container.with_kwargs(
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode="none",
            entrypoint=entrypoint,
        )
        if kubeconfig is not None:
            container.with_volume_mapping(kubeconfig, _INSIDE)
        with container:
            status = container.wait()
            out, err = container.get_logs()
        return Outcome(status, out.decode(), err.decode())

    return run


def test_it_is_locked_up(run: Callable[..., Outcome]) -> None:
    outcome = run("-c", _SELF_PORTRAIT, entrypoint=["python"])
    assert outcome.status == 0, outcome
    portrait = json.loads(outcome.out)
    assert portrait == {
        "uid": 65532,  # the image's own choice: none is given here
        "gid": 65532,
        "capabilities": 0,
        "no new privileges": 1,
        "writable": [],
        "network": ["lo"],
    }


def test_help(run: Callable[..., Outcome]) -> None:
    outcome = run("--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert "Usage: dask-k8s-operator" in outcome.out
    commands = outcome.out.partition("Commands:")[2]
    assert "  run " in commands
    assert run() == outcome, "without arguments it says the same"


def test_version(run: Callable[..., Outcome]) -> None:
    expected = f"dask-k8s-operator, version {dask_k8s_operator.__version__}\n"
    assert run("--version") == Outcome(0, expected, "")


def test_a_misspelt_option(run: Callable[..., Outcome]) -> None:
    outcome = run("run", "--namespaces=default")
    assert (outcome.status, outcome.out) == (2, "")
    assert "No such option" in outcome.err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("clusters: [{name: a", "flow mapping", id="no YAML"),
        pytest.param("just words", "", id="no mapping"),
        pytest.param("", "", id="empty"),
        pytest.param("{apiVersion: v1, kind: Config, current-context: gone, contexts: []}", "gone", id="no context"),
    ],
)
def test_a_broken_kubeconfig(run: Callable[..., Outcome], tmp_path: Path, content: str, complaint: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(content)
    line = _only_line(run("run", f"--kubeconfig={_INSIDE}", kubeconfig=kubeconfig))
    assert complaint in line
    assert _INSIDE in line, "names the file that is to be put right"
    assert "--kubeconfig" in line, "says what can be done"


def test_a_missing_kubeconfig(run: Callable[..., Outcome]) -> None:
    assert _INSIDE in _only_line(run("run", f"--kubeconfig={_INSIDE}"))


def test_no_kubeconfig_at_all(run: Callable[..., Outcome]) -> None:
    assert "--kubeconfig" in _only_line(run("run"))


def test_an_api_server_that_does_not_answer(run: Callable[..., Outcome], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(_UNREACHABLE))
    line = _only_line(run("run", f"--kubeconfig={_INSIDE}", kubeconfig=kubeconfig))
    assert "no answer from the API server" in line
    assert "127.0.0.1" in line


def _only_line(outcome: Outcome) -> str:
    """What an operator that could not start says, which is one line and no traceback."""
    assert (outcome.status, outcome.out) == (1, ""), outcome
    [line] = outcome.err.splitlines()
    assert line.startswith("dask-k8s-operator: ")
    return line


_UNREACHABLE = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "nowhere",
    "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "nobody", "user": {"token": "none"}}],
}
