"""Whether a Docker daemon is taken for one that can run k3s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from testcontainers.core.config import ConnectionMode, testcontainers_config

from integration.cluster import docker_probe
from tests.cluster.fake_docker import FakeDocker

if TYPE_CHECKING:
    from pathlib import Path

_FINE: dict[str, Any] = {"OSType": "linux", "CgroupVersion": "2", "ServerVersion": "28.1", "SecurityOptions": None}
_IMAGE = "rancher/k3s:v1.2.3-k3s1"


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(testcontainers_config, "tc_properties", {})
    monkeypatch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode.docker_host)


@pytest.mark.parametrize(
    ("change", "lacking", "usable", "reason"),
    [
        ({}, (), True, "Docker 28.1 answers"),
        ({"OSType": "windows"}, (), False, "no Linux containers"),
        ({}, (24,), False, "privileged containers: it lacks CAP_SYS_RESOURCE"),
        ({}, (40, 21), False, "it lacks CAP_SYS_ADMIN, capability 40"),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, (), False, "without root"),
        ({"CgroupVersion": "1"}, (), False, "control groups version 1"),
        ({"CgroupVersion": None}, (), False, "control groups version 1"),
    ],
)
def test_judge(change: dict[str, Any], lacking: tuple[int, ...], *, usable: bool, reason: str) -> None:
    info = {key: value for key, value in {**_FINE, **change}.items() if value is not None}
    verdict = docker_probe.judge(info, lacking=lacking)
    assert verdict.usable is usable
    assert reason in verdict.reason
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(
    ("mask", "missing"),
    [("000001ffffffffff", set()), ("000001fffeffffff", {24}), ("00000000a80425fb", {24, 21})],
)
def test_capabilities_are_read_from_the_bounding_set(mask: str, missing: set[int]) -> None:
    status = f"Name:\tdockerd\nCapEff:\t0000000000000000\nCapBnd:\t{mask}\nCapAmb:\t0000000000000000\n"
    found = docker_probe.missing_capabilities(status, last=40)
    assert missing <= found
    assert (not found) == (not missing)


def test_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    verdict = docker_probe.probe(_IMAGE)
    assert not verdict.usable
    assert verdict.reason.startswith("no Docker daemon answers: ")
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(
    ("images", "registry", "usable", "reason"),
    [
        ({_IMAGE}, set(), True, "answers"),
        (set(), {_IMAGE}, True, "answers"),
        (set(), set(), False, f"neither has {_IMAGE} nor can fetch it"),
    ],
)
def test_the_image_has_to_be_had(
    monkeypatch: pytest.MonkeyPatch, images: set[str], registry: set[str], *, usable: bool, reason: str
) -> None:
    with FakeDocker(images={name: {} for name in images}, registry=registry) as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.url)
        verdict = docker_probe.probe(_IMAGE)
        assert {method for method, _, _ in daemon.requests} == {"GET"}, "it changes and fetches nothing"
    assert verdict.usable is usable
    assert reason in verdict.reason


def test_an_unfit_daemon_is_not_asked_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDocker(info={"OSType": "windows"}) as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.url)
        assert not docker_probe.probe(_IMAGE).usable
        assert not daemon.asked("GET", "/(images|distribution)/.*")


def test_a_container_beside_which_none_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode.gateway_ip)
    with FakeDocker(images={_IMAGE: {}}, info=_FINE) as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.url)
        verdict = docker_probe.probe(_IMAGE)
    assert not verdict.usable
    assert "a container itself" in verdict.reason
