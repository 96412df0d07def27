"""What is found out about a machine, what is said of it, and what is done to it, on machines of many kinds."""

from __future__ import annotations

import io
import os
import platform
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from integration.cluster import binaries, cli, definitions, host, node
from integration.cluster.images import dask_image
from integration.cluster.local import Local
from integration.cluster.paths import Paths
from integration.cluster.provider import ProviderError
from tests.cluster.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
UBUNTU = {"ID": "ubuntu", "VERSION_CODENAME": "noble", "UBUNTU_CODENAME": "noble"}
MINT = {"ID": "linuxmint", "VERSION_CODENAME": "wilma", "UBUNTU_CODENAME": "noble"}
FEDORA = {"ID": "fedora", "VERSION_CODENAME": ""}
ARCH = {"ID": "arch"}
APT = {"apt-get", "apt-cache", "dpkg-query", "dpkg-deb"}


@dataclass
class Machine:
    """As much of a machine as is asked about; notes what is done with apt.

    Attributes:
        release: what os-release says; None where there is no such file.
        programs: what is on the PATH.
        installed: the Debian packages that are.
        python: the version of the distribution's Python as the package lists know it.
        releases: what debootstrap can make; None where it isn't installed.
        locked: how often the package lists are found locked by somebody.
        done: the calls of apt-get, without their options.
    """

    folder: Path
    release: dict[str, str] | None = field(default_factory=lambda: dict(DEBIAN))
    programs: set[str] = field(default_factory=lambda: set(APT))
    installed: set[str] = field(default_factory=set)
    python: str = "3.11.2-1+b1"
    releases: set[str] | None = None
    locked: int = 0
    done: list[list[str]] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def os_release(self) -> dict[str, str]:
        if self.release is None:
            raise OSError("Unable to read files /etc/os-release, /usr/lib/os-release")
        return self.release

    def call(self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        program, *arguments = argv
        if program not in self.programs:
            raise ProviderError(f"{program} is missing")
        if program == "apt-cache":
            return f"python3:\n  Installed: (none)\n  Candidate: {self.python}\n"
        if program == "dpkg-deb":
            return ""
        assert program == "apt-get"
        assert env is not None
        assert env["DEBIAN_FRONTEND"] == "noninteractive"
        options, words = arguments[:1], arguments[1:]
        assert options[0].startswith("--option=DPkg::Lock::Timeout=")
        if self.locked:
            self.locked -= 1
            raise ProviderError("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 17 (apt-get)")
        self.done.append(words)
        if words[0] == "install":
            self.installed.update(words)
        if words[0] == "download" and cwd:
            (cwd / "a.deb").touch()
        return ""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(platform, "freedesktop_os_release", machine.os_release)
    monkeypatch.setattr(host, "call", machine.call)
    monkeypatch.setattr(host, "_which", lambda name: name in machine.programs)
    monkeypatch.setattr(host, "_in_folders", lambda name: name in machine.programs)
    monkeypatch.setattr(host, "_is_installed", lambda name: name in machine.installed)
    monkeypatch.setattr(host, "_knows_release", lambda name: machine.releases is None or name in machine.releases)
    monkeypatch.setattr(host, "_LOCKED_TICK", 0.0)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    return machine


@pytest.fixture
def paths(machine: Machine) -> Paths:
    return Paths(machine.folder, "0123abcd", "dask-k8s-test-0123abcd", machine.folder / "state", machine.cache)


@pytest.mark.parametrize(
    ("release", "codename", "components"),
    [
        (DEBIAN, "bookworm", ()),
        (UBUNTU, "noble", ("universe",)),
        (MINT, "noble", ("universe",)),
        (FEDORA, "", ()),
        (ARCH, "", ()),
        (None, "", ()),
    ],
)
def test_which_release_images_are_made_of(
    machine: Machine, release: dict[str, str] | None, codename: str, components: tuple[str, ...]
) -> None:
    machine.release = release
    found = host.inspect(machine.cache)
    assert (found.codename, found.components) == (codename, components)


def test_debian_and_ubuntu_can_be_used(machine: Machine, paths: Paths) -> None:
    for release in (DEBIAN, UBUNTU, MINT):
        machine.release = release
        assert Local(paths).verdict().usable
    machine.releases = {"noble"}
    assert Local(paths).verdict().usable


@pytest.mark.parametrize("release", [FEDORA, ARCH, None])
def test_a_distribution_without_a_release_name_is_not_taken_and_found_out_later(
    machine: Machine, paths: Paths, release: dict[str, str] | None
) -> None:
    machine.release = release
    verdict = Local(paths).verdict()
    assert not verdict.usable
    assert "this distribution has no release name" in verdict.reason


def test_nor_is_one_that_debootstrap_does_not_know(machine: Machine, paths: Paths) -> None:
    machine.releases = {"bullseye"}
    verdict = Local(paths).verdict()
    assert not verdict.usable
    assert "it knows no release bookworm" in verdict.reason


@pytest.mark.parametrize(
    ("python", "usable"),
    [("3.9.2-3", False), ("3.10.6-1~22.04.1", False), ("3.11.2-1+b1", True), ("1:3.13.5-1", True), ("(none)", True)],
)
def test_nor_is_one_whose_python_is_too_old_for_the_operator(
    machine: Machine, paths: Paths, python: str, *, usable: bool
) -> None:
    machine.python = python
    verdict = Local(paths).verdict()
    assert verdict.usable is usable
    assert usable or f"Python 3.{python.split('.')[1]}, and the operator needs 3.11" in verdict.reason


def test_without_apt_what_is_missing_is_named(machine: Machine, paths: Paths) -> None:
    machine.programs = {"ip", "nsenter", "openssl", "iptables", "containerd", "runc", "ptp", "buildah", "prometheus"}
    verdict = Local(paths).verdict()
    assert not verdict.usable
    assert verdict.reason == "there is no apt, and these are missing: debootstrap, busybox, dockerd, etcd"
    with pytest.raises(ProviderError, match=r"by hand: debootstrap, busybox, dockerd, etcd$"):
        Local(paths).up()
    assert machine.done == []


def test_without_apt_but_with_all_that_is_needed_it_is_taken(machine: Machine, paths: Paths) -> None:
    found = host.inspect(machine.cache)
    machine.programs = set(host._UNPACKED.values()) | set(filter(None, host._INSTALLED.values()))
    assert Local(paths).verdict().usable
    assert found.install
    assert not host.inspect(machine.cache).install


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("system", "user", "reason"), [("darwin", 0, "needs Linux"), ("linux", 1000, "needs root")])
def test_other_systems_and_users(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, system: str, user: int, reason: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    verdict = Local(paths).verdict()
    assert not verdict.usable
    assert reason in verdict.reason


def test_only_what_is_missing_is_installed(machine: Machine) -> None:
    machine.installed = set(host._INSTALLED) - {"buildah", "debootstrap"}
    host.provide(host.inspect(machine.cache), cache=machine.cache)
    update, install, download = machine.done
    assert update == ["update"]
    assert install == ["install", "--yes", "--no-install-recommends", "buildah", "debootstrap"]
    assert download == ["download", *host._UNPACKED]
    machine.done.clear()
    host.provide(host.inspect(machine.cache), cache=machine.cache)
    assert machine.done == [], "nothing is left to be done"


def test_what_another_process_has_installed_meanwhile_is_not_installed_again(machine: Machine) -> None:
    seen = host.inspect(machine.cache)
    host.provide(seen, cache=machine.cache)
    machine.done.clear()
    host.provide(seen, cache=machine.cache)
    assert machine.done == []


def test_locked_package_lists_are_waited_for(machine: Machine) -> None:
    machine.locked = 3
    host.provide(host.inspect(machine.cache), cache=machine.cache)
    assert [words[0] for words in machine.done] == ["update", "install", "download"]


def test_they_are_not_waited_for_for_ever(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LOCKED_SECONDS", -1)
    machine.locked = 1
    with pytest.raises(ProviderError, match="Could not get lock"):
        host.provide(host.inspect(machine.cache), cache=machine.cache)


def test_an_old_python_is_found_out_as_soon_as_the_lists_are_there(machine: Machine) -> None:
    machine.python = "(none)"
    seen = host.inspect(machine.cache)
    assert host.obstacle(seen) == ""
    machine.python = "3.9.2-3"
    with pytest.raises(ProviderError, match=r"Python 3\.9, and the operator needs 3\.11"):
        host.provide(seen, cache=machine.cache)
    assert machine.done, "only after the packages, whose lists tell"


class Steps:
    """What `up` does after it was agreed to, noted only."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.asked: list[list[str]] = []
        self.answer = True
        for module in (binaries, definitions):
            monkeypatch.setattr(module, "provide", lambda _, module=module: self.done.append(module.__name__))
        monkeypatch.setattr(node, "find", lambda _: None)
        monkeypatch.setattr(node, "destroy", lambda *_, **__: None)
        monkeypatch.setattr(Local, "_start", lambda *_: self.done.append("started"))
        self._machine = machine

    def confirm(self, plans: Sequence[str]) -> bool:
        assert self.done == []
        assert self._machine.done == []
        self.asked.append(list(plans))
        return self.answer


@pytest.fixture
def steps(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(machine, monkeypatch)


def test_everything_is_said_at_once_before_anything_is_done(machine: Machine, steps: Steps, paths: Paths) -> None:
    machine.installed = set(host._INSTALLED) - {"buildah"}
    Local(paths, confirm=steps.confirm).up()
    [plans] = steps.asked
    unpacked = ", ".join(host._UNPACKED)
    assert plans[0] == "install Debian packages: buildah"
    assert plans[1] == f"unpack Debian packages into {paths.cache}, without installing them: {unpacked}"
    text = "\n".join(plans)
    for word in ("build Kubernetes", "download the Go modules of", "a minimal bookworm system", "about 20 minutes"):
        assert word in text
    assert [words[0] for words in machine.done] == ["update", "install", "download"]
    assert steps.done == ["integration.cluster.binaries", "integration.cluster.definitions", "started"]


def test_where_it_is_not_agreed_to_nothing_is_changed(machine: Machine, steps: Steps, paths: Paths) -> None:
    steps.answer = False
    with pytest.raises(ProviderError, match="not agreed to, so nothing was changed"):
        Local(paths, confirm=steps.confirm).up()
    assert len(steps.asked) == 1
    assert (steps.done, machine.done) == ([], [])
    assert not paths.state.exists()


def test_where_all_is_there_nobody_is_asked(machine: Machine, steps: Steps, paths: Paths) -> None:
    machine.installed = set(host._INSTALLED)
    provider = Local(paths, confirm=steps.confirm)
    dask = provider._builder().planned(dask_image()).file
    for made in (host.inspect(paths.cache).unpacked, binaries.folder(paths.cache), definitions.folder(paths.cache)):
        made.mkdir(parents=True)
    dask.parent.mkdir(parents=True)
    dask.touch()
    provider.up()
    assert (steps.asked, machine.done) == ([], [])
    assert steps.done[-1] == "started"


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("\n", True), ("n\n", False), ("what?\nn\n", False)], ids=repr
)
def test_on_a_terminal_a_person_is_asked_and_anything_but_no_is_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, *, agreed: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert cli.ask(["install something"]) is agreed
    said = capsys.readouterr().err
    assert said.index("  - install something") < said.index("Go ahead? [Y/n]")


@pytest.mark.parametrize(("arguments", "asks"), [(["up", "--yes"], False), (["up"], True)])
def test_yes_is_the_answer_in_advance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], *, asks: bool
) -> None:
    """What is going to be done is said all the same."""
    provider = Notes()

    def select(*, kubeconfig: object, confirm: Callable[[Sequence[str]], bool]) -> Notes:
        assert kubeconfig is None
        assert confirm(["install something"]) is not asks
        return provider

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    monkeypatch.setattr(cli, "select", select)
    cli.main(arguments, standalone_mode=False)
    said = capsys.readouterr().err
    assert "install something" in said
    assert ("Go ahead?" in said) is asks
