"""Namespaces are made and removed only where they are this checkout's."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from integration.cluster.existing import CHECKOUT_LABEL
from integration.cluster.paths import Paths
from integration.kube import Kube, NotOurs
from tests.cluster.fake_kubectl import Kubectl, put_on_path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for kubectl is a script")

OURS = {CHECKOUT_LABEL: Paths.here().key}
KUBE = Kube("team")


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    return put_on_path(tmp_path, monkeypatch)


def _is_there(kubectl: Kubectl, labels: dict[str, str] | None) -> None:
    metadata = {"name": "team"} if labels is None else {"name": "team", "labels": labels}
    kubectl.answer("get namespace team", json.dumps({"metadata": metadata}))


def _verbs(kubectl: Kubectl) -> list[str]:
    return [call[2] for call in kubectl.calls()]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (None, "none that this project's tools have made"),
        ({"team": "a"}, "none that this project's tools have made"),
        ({CHECKOUT_LABEL: "ffffffff"}, "belongs to another checkout, ffffffff"),
    ],
)
def test_somebody_elses_is_left_alone(kubectl: Kubectl, labels: dict[str, str] | None, complaint: str) -> None:
    _is_there(kubectl, labels)
    with pytest.raises(NotOurs, match=complaint):
        KUBE.delete_namespace(wait=False)
    with pytest.raises(NotOurs, match=complaint):
        KUBE.create_namespace()
    assert _verbs(kubectl) == ["get", "get"]


def test_our_own_is_removed_and_brought_up_to_date(kubectl: Kubectl) -> None:
    _is_there(kubectl, OURS)
    KUBE.delete_namespace(wait=True)
    KUBE.create_namespace()
    assert _verbs(kubectl) == ["get", "delete", "get", "apply"]


def test_where_there_is_none_one_is_made(kubectl: Kubectl) -> None:
    kubectl.answer("get namespace team", "")
    KUBE.create_namespace()
    assert _verbs(kubectl) == ["get", "apply"]
    KUBE.delete_namespace(wait=False)
    assert _verbs(kubectl)[2:] == ["get", "delete"]
