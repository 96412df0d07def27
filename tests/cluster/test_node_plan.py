"""What the local node is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integration.cluster.node_plan import USERS, NodePlan, Programs, plan

STATE = Path("/state/of/the/node")
PROGRAMS = Programs(
    kubernetes=Path("/programs"),
    etcd=Path("/packages/usr/bin/etcd"),
    containerd=Path("/packages/usr/bin/containerd"),
    runc=Path("/packages/usr/sbin/runc"),
    network_plugins=Path("/packages/usr/lib/cni"),
)


@pytest.fixture
def node() -> NodePlan:
    return plan(state=STATE, programs=PROGRAMS, views=[("view", "of", "groups")])


def arguments(node: NodePlan, name: str) -> tuple[str, ...]:
    return next(one.argv for one in node.components if one.name == name)


def settings(node: NodePlan, file: str) -> Any:
    return json.loads(node.files[f"config/{file}"])


def test_mounts_are_private_before_anything_is_mounted(node: NodePlan) -> None:
    assert node.setup[:3] == (
        ("mount", "--make-rprivate", "/"),
        ("mount", "--make-rshared", "/"),
        ("view", "of", "groups"),
    )


def test_what_would_leave_the_node_is_refused_at_once(node: NodePlan) -> None:
    assert ("ip", "route", "add", "default", "dev", "node0") in node.setup
    refused = [argv for argv in node.setup if argv[0] == "iptables"]
    assert [argv[2] for argv in refused] == ["OUTPUT", "FORWARD"]
    assert all(argv[argv.index("-j") + 1] == "REJECT" for argv in refused)


@pytest.mark.parametrize("name", ["apiserver", "controller-manager"])
def test_autoscalers_may_scale_to_zero(node: NodePlan, name: str) -> None:
    gates = [one for one in arguments(node, name) if one.startswith("--feature-gates=")]
    assert len(gates) == 1
    assert "HPAScaleToZero=true" in gates[0].partition("=")[2].split(",")


def test_rights_are_checked_and_nobody_is_let_in_unknown(node: NodePlan) -> None:
    assert "--authorization-mode=Node,RBAC" in arguments(node, "apiserver")
    kubelet = settings(node, "kubelet.json")
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authorization"] == {"mode": "Webhook"}


def test_only_the_administrator_is_one(node: NodePlan) -> None:
    assert [name for name, user in USERS.items() if "system:masters" in user.groups] == ["admin"]
    role, binding = settings(node, "dns-role.json")["items"]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
    assert binding["subjects"][0]["name"] == USERS["dns"].name


def test_a_hundred_pods_fit_and_start_side_by_side(node: NodePlan) -> None:
    kubelet = settings(node, "kubelet.json")
    assert kubelet["maxPods"] >= 200
    assert kubelet["serializeImagePulls"] is False


def test_images_are_never_collected(node: NodePlan) -> None:
    assert settings(node, "kubelet.json")["imageGCHighThresholdPercent"] == 100


def test_everything_that_is_written_is_in_the_state_folder_or_the_nodes_own_folders(node: NodePlan) -> None:
    network = settings(node, "cni/pods.conflist")
    written: list[str] = [
        settings(node, "kubelet.json")["podLogsDir"],
        settings(node, "kubelet.json")["volumePluginDir"],
        network["plugins"][0]["ipam"]["dataDir"],
        *(one.log for one in node.components),
        *(
            value
            for one in node.components
            for name, _, value in (argument.partition("=") for argument in one.argv)
            if name.endswith("-dir")
        ),
    ]
    own: list[str] = [argv[-1] for argv in node.setup if argv[:3] == ("mount", "-t", "tmpfs")]
    assert len(written) > 10
    for place in written:
        assert any(Path(place).is_relative_to(folder) for folder in (str(STATE), *own)), place


def test_two_nodes_differ_in_nothing_but_their_folder(node: NodePlan) -> None:
    other = plan(state=Path("/another"), programs=PROGRAMS, views=[("view", "of", "groups")])
    assert other.as_json() == node.as_json().replace(str(STATE), "/another")


def test_the_supervisor_can_read_the_plan(node: NodePlan) -> None:
    read = json.loads(node.as_json())
    assert [one["name"] for one in read["components"]] == [one.name for one in node.components]
    assert all(set(one) == {"name", "argv", "needs", "log", "env"} for one in read["components"])
    assert read["setup"] == [list(argv) for argv in node.setup]


def test_names_outside_the_cluster_do_not_exist(node: NodePlan) -> None:
    corefile = node.files["config/Corefile"]
    assert "forward" not in corefile
    assert "NXDOMAIN" in corefile
    cluster, rest = corefile.split("\n\n", maxsplit=1)
    assert "kubernetes" in cluster
    assert "NXDOMAIN" not in cluster, "it would answer before the cluster's names are looked up"
    assert rest.startswith(". {")
