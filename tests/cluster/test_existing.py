"""What is asked of a cluster of the user's own, by a kubectl that notes it and answers as arranged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration.cluster.existing import DASK_IMAGE_VARIABLE, OPERATOR_IMAGE_VARIABLE, Existing, namespace
from integration.cluster.paths import Paths
from integration.cluster.provider import Images, ProviderError
from tests.cluster.fake_kubectl import Kubectl, put_on_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for kubectl is a script")


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    return put_on_path(tmp_path, monkeypatch)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "checkout", "0123abcd", "dask-k8s-0123abcd", tmp_path / "state", tmp_path / "cache")


@pytest.fixture
def cluster(paths: Paths, tmp_path: Path) -> Existing:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{}")
    return Existing(paths, kubeconfig)


def test_it_is_taken_where_it_answers(kubectl: Kubectl, cluster: Existing) -> None:
    assert cluster.verdict().usable
    assert cluster.running()
    assert {call[0] for call in kubectl.calls()} == {str(cluster.kubeconfig())}


def test_it_is_not_taken_where_it_does_not_answer(kubectl: Kubectl, cluster: Existing) -> None:
    kubectl.answer("/version", "E1123 try again\nThe connection to the server was refused", status=1)
    verdict = cluster.verdict()
    assert not verdict.usable
    assert verdict.reason == "its API server does not answer: The connection to the server was refused"
    assert not cluster.running()
    with pytest.raises(ProviderError, match="refused"):
        cluster.up()


def test_it_is_not_taken_without_its_kubeconfig(kubectl: Kubectl, paths: Paths) -> None:
    verdict = Existing(paths, Path("/nowhere/config")).verdict()
    assert (verdict.usable, verdict.reason) == (False, "there is no kubeconfig /nowhere/config")
    assert not kubectl.calls()


def test_it_is_not_taken_without_kubectl(cluster: Existing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integration.cluster.existing.environment", lambda: {"PATH": "/nowhere"})
    verdict = cluster.verdict()
    assert not verdict.usable
    assert "kubectl is not on the PATH" in verdict.reason


def test_up_only_asks(kubectl: Kubectl, cluster: Existing, paths: Paths) -> None:
    cluster.up()
    asked = {" ".join(call[1:3]) for call in kubectl.calls()}
    assert asked == {"get --raw=/version", "auth can-i", "get customresourcedefinitions.apiextensions.k8s.io"}
    assert not paths.state.exists()


@pytest.mark.parametrize(("found", "said"), [("", False), ("customresourcedefinition/clusters.dask.charmtx.com", True)])
def test_up_says_that_a_definition_of_the_users_will_be_replaced(
    kubectl: Kubectl, cluster: Existing, capsys: pytest.CaptureFixture[str], found: str, *, said: bool
) -> None:
    kubectl.answer("get customresourcedefinitions.apiextensions.k8s.io clusters.dask.charmtx.com", found)
    cluster.up()
    assert ("the definition of this checkout takes its place" in capsys.readouterr().err) is said


def test_up_names_the_rights_that_are_missing(kubectl: Kubectl, cluster: Existing) -> None:
    kubectl.answer("can-i create namespaces", "no", status=1)
    kubectl.answer("can-i create pods --subresource=exec", "no", status=1)
    with pytest.raises(ProviderError, match="may not, in every namespace: create namespaces, create pods/exec; use"):
        cluster.up()


def test_down_removes_its_own_alone(kubectl: Kubectl, cluster: Existing, paths: Paths) -> None:
    made = namespace("demo", paths=paths)
    assert made["metadata"]["labels"] == {"dask-k8s-operator.test-cluster": "0123abcd"}
    kubectl.answer("get namespaces", "namespace/demo\nclusterrole.rbac.authorization.k8s.io/dask-operator-it-1")
    cluster.down()
    ours = "--selector=dask-k8s-operator.test-cluster=0123abcd"
    looked, removed = kubectl.calls()
    kinds = "namespaces,clusterroles,clusterrolebindings,priorityclasses"
    assert looked[1:4] == ["get", kinds, ours]
    assert removed[1:4] == ["delete", kinds, ours]


def test_down_where_nothing_is_left(kubectl: Kubectl, cluster: Existing) -> None:
    kubectl.answer("get namespaces", "")
    cluster.down()
    assert [call[1] for call in kubectl.calls()] == ["get"]


def test_down_that_fails_says_so(kubectl: Kubectl, cluster: Existing) -> None:
    kubectl.answer("get namespaces", "namespace/demo")
    kubectl.answer("delete namespaces", "timed out waiting for the condition", status=1)
    with pytest.raises(ProviderError, match="timed out waiting"):
        cluster.down()


def test_images_are_the_users(cluster: Existing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPERATOR_IMAGE_VARIABLE, raising=False)
    monkeypatch.setenv(DASK_IMAGE_VARIABLE, "registry.example/dask:1")
    with pytest.raises(ProviderError, match=r"^set DASK_K8S_TEST_OPERATOR_IMAGE: build the images"):
        cluster.images()
    monkeypatch.setenv(OPERATOR_IMAGE_VARIABLE, "registry.example/operator:1")
    assert cluster.images() == Images(operator="registry.example/operator:1", dask="registry.example/dask:1")


def test_nothing_is_loaded(kubectl: Kubectl, cluster: Existing) -> None:
    with pytest.raises(ProviderError, match="push it to where the cluster pulls from"):
        cluster.load("mine:1")
    assert not kubectl.calls()


def test_a_command_has_the_users_kubeconfig(cluster: Existing, capfd: pytest.CaptureFixture[str]) -> None:
    assert cluster.run(["sh", "-c", 'echo "$KUBECONFIG"; exit 3']) == 3
    out, err = capfd.readouterr()
    assert out.strip() == str(cluster.kubeconfig())
    assert "only the API server can be reached" in err
