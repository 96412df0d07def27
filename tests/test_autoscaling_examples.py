"""The examples that scale a Cluster by demand: what can be said of their files without an API server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_k8s_operator.domain import names

EXAMPLE = Path(__file__).parents[1] / "example"
DOCS = EXAMPLE.parent / "docs"
FOLDERS = sorted(file.parent for file in EXAMPLE.rglob("kustomization.yaml"))
DEMAND = "dask_scheduler_desired_workers"
"""By this name the scheduler says how many workers it wants (distributed/http/scheduler/prometheus/core.py)."""

Json = dict[str, Any]


def load(path: Path) -> Json:
    loaded: Json = yaml.safe_load(path.read_text())
    return loaded


def kustomization(folder: Path) -> Json:
    return load(folder / "kustomization.yaml")


def objects(folder: Path) -> list[Json]:
    """The objects of a folder's own files, before kustomize changes them."""
    files = [folder / entry for entry in kustomization(folder)["resources"]]
    return [one for file in files if file.is_file() for one in yaml.safe_load_all(file.read_text())]


def of_kind(folder: Path, kind: str) -> Json:
    (found,) = [one for one in objects(folder) if one["kind"] == kind]
    return found


def cluster_name() -> str:
    """The name of the Cluster as the base makes it."""
    base = EXAMPLE / "base"
    return str(kustomization(base)["namePrefix"] + of_kind(base, "Cluster")["metadata"]["name"])


def strings_at(document: Any, path: str) -> list[str]:
    r"""What a kustomize field path leads to; through every item of the lists on its way, and `\/` is a slash."""
    found = [document]
    for part in path.replace(r"\/", "\0").split("/"):
        items = [item for one in found for item in (one if isinstance(one, list) else [one])]
        name = part.replace("\0", "/")
        found = [item[name] for item in items if isinstance(item, dict) and name in item]
    return found


@pytest.fixture
def rule() -> Json:
    (rule,) = load(EXAMPLE / "autoscaling-prometheus" / "adapter-values.yaml")["rules"]["custom"]
    return dict(rule)


@pytest.fixture
def autoscaler() -> Json:
    return of_kind(EXAMPLE / "autoscaling-prometheus", "HorizontalPodAutoscaler")


@pytest.fixture
def monitor() -> Json:
    return of_kind(EXAMPLE / "servicemonitor", "ServiceMonitor")


class TestEveryFolder:
    """What holds for every example."""

    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(EXAMPLE)))
    def test_refers_to_what_exists(self, folder: Path) -> None:
        own = kustomization(folder)
        for entry in [*own["resources"], *own.get("configurations", ())]:
            assert (folder / entry).is_file() or (folder / entry / "kustomization.yaml").is_file(), entry

    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(EXAMPLE)))
    def test_reaches_no_folder_above_its_own_bases(self, folder: Path) -> None:
        # kustomize refuses a base that the folder itself is in.
        for entry in kustomization(folder)["resources"]:
            assert (folder / entry).resolve() not in folder.resolve().parents, entry

    @pytest.mark.parametrize("name", ["autoscaling-prometheus", "autoscaling-keda"])
    def test_a_prefix_reaches_every_field_with_the_name_of_the_cluster(self, name: str) -> None:
        folder = EXAMPLE / name
        (configuration,) = kustomization(folder)["configurations"]
        (references,) = load(folder / configuration)["nameReference"]
        assert (references["group"], references["kind"]) == (names.GROUP, names.KIND)
        fields = references["fieldSpecs"]
        for one in objects(folder):
            reached = [
                value
                for field in fields
                if (field["group"], field["kind"]) == (one["apiVersion"].partition("/")[0], one["kind"])
                for value in strings_at(one["spec"], field["path"].removeprefix("spec/"))
            ]
            assert reached == [cluster_name()] * mentions(one["spec"]), one["kind"]

    @pytest.mark.parametrize("name", ["autoscaling-prometheus", "autoscaling-keda"])
    def test_nothing_but_the_autoscaler_sets_the_number_of_workers(self, name: str) -> None:
        (patch,) = kustomization(EXAMPLE / name)["patches"]
        assert patch["target"] == {"kind": names.KIND}
        assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/workers/replicas"}]


def mentions(spec: Any) -> int:
    """How many fields of a spec name a Cluster, by its kind."""
    if isinstance(spec, list):
        return sum(map(mentions, spec))
    if not isinstance(spec, dict):
        return 0
    return (spec.get("kind") == names.KIND) + sum(map(mentions, spec.values()))


class TestPages:
    """What the pages show is what the files have."""

    @pytest.mark.parametrize(
        ("page", "folder", "kind"),
        [
            ("autoscaling-prometheus.md", "autoscaling-prometheus", "HorizontalPodAutoscaler"),
            ("autoscaling-keda.md", "autoscaling-keda", "ScaledObject"),
        ],
    )
    def test_the_autoscaler_on_the_page_is_the_examples(self, page: str, folder: str, kind: str) -> None:
        (shown,) = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
        assert yaml.safe_load(shown) == of_kind(EXAMPLE / folder, kind)

    def test_the_cluster_that_scales_itself_on_the_page_is_the_examples(self) -> None:
        page = (DOCS / "autoscaling-builtin.md").read_text("utf-8")
        (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        (patch,) = kustomization(EXAMPLE / "autoscaling-builtin")["patches"]
        removed, added = yaml.safe_load(patch["patch"])
        assert patch["target"] == {"kind": names.KIND}
        assert removed == {"op": "remove", "path": "/spec/workers/replicas"}
        assert added["path"] == "/spec/workers/autoscale"
        assert yaml.safe_load(shown)["spec"]["workers"] == {"autoscale": added["value"]}

    def test_the_paths_on_the_pages_exist(self) -> None:
        for page in DOCS.glob("autoscaling-*.md"):
            for path in re.findall(r"\bexample/[\w/.-]+\w", page.read_text("utf-8")):
                assert (EXAMPLE.parent / path).exists(), f"{page.name}: {path}"


class TestAdapter:
    """The way from the scheduler's metric to the autoscaler: names that agree at each step."""

    def test_the_monitor_selects_the_services_of_schedulers(self, monitor: Json) -> None:
        labels = names.labels("any", names.ROLE_SCHEDULER)
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] == names.PORT_DASHBOARD[0]

    def test_the_rule_takes_the_cluster_from_the_label_that_the_monitor_sets(self, monitor: Json, rule: Json) -> None:
        assert monitor["spec"]["jobLabel"] == names.LABEL_CLUSTER
        assert rule["resources"]["overrides"] == {
            "namespace": {"resource": "namespace"},
            "job": {"group": names.GROUP, "resource": names.KIND.lower()},
        }
        assert rule["seriesQuery"] == f'{DEMAND}{{namespace!="",job!=""}}'

    def test_the_autoscaler_asks_for_the_metric_that_the_rule_yields(self, rule: Json, autoscaler: Json) -> None:
        pattern, template = rule["name"]["matches"], rule["name"]["as"].replace("${1}", r"\1")
        (metric,) = autoscaler["spec"]["metrics"]
        assert metric["object"]["metric"] == {"name": re.sub(pattern, template, DEMAND)}

    def test_the_metric_is_the_number_of_workers(self, autoscaler: Json) -> None:
        (metric,) = autoscaler["spec"]["metrics"]
        assert metric["object"]["target"] == {"type": "AverageValue", "averageValue": "1"}

    def test_the_autoscaler_scales_the_cluster_whose_metric_it_asks_for(self, autoscaler: Json) -> None:
        (metric,) = autoscaler["spec"]["metrics"]
        target = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": cluster_name()}
        assert autoscaler["spec"]["scaleTargetRef"] == metric["object"]["describedObject"] == target

    def test_to_zero_is_the_same_but_for_the_minimum(self, autoscaler: Json) -> None:
        own = kustomization(EXAMPLE / "autoscaling-prometheus-to-zero")
        (patch,) = own["patches"]
        assert own["resources"] == ["../autoscaling-prometheus"]
        assert yaml.safe_load(patch["patch"]) == [{"op": "replace", "path": "/spec/minReplicas", "value": 0}]
        assert autoscaler["spec"]["minReplicas"] == 1


class TestKeda:
    """What KEDA asks, and whom."""

    def test_it_asks_the_scheduler_of_the_cluster_that_it_scales(self) -> None:
        (trigger,) = of_kind(EXAMPLE / "autoscaling-keda", "ScaledObject")["spec"]["triggers"]
        assert trigger["type"] == "metrics-api"
        assert trigger["metadata"] == {
            "url": f"{names.dashboard_address(cluster_name(), 'default')}/api/v1/adaptive_target",
            "valueLocation": "workers",
            "targetValue": "1",
        }

    def test_or_prometheus_for_what_that_scheduler_said(self) -> None:
        own = kustomization(EXAMPLE / "autoscaling-keda-prometheus")
        assert own["resources"] == ["../autoscaling-keda", "../servicemonitor"]
        ((operation,),) = [yaml.safe_load(patch["patch"]) for patch in own["patches"]]
        (trigger,) = operation["value"]
        assert (operation["path"], trigger["type"]) == ("/spec/triggers", "prometheus")
        asked = trigger["metadata"]
        assert asked["query"] == f'max({DEMAND}{{namespace="default",job="{cluster_name()}"}})'
        assert (asked["threshold"], asked["ignoreNullValues"]) == ("1", "false")

    def test_the_cluster_has_no_workers_where_none_are_asked_for(self) -> None:
        assert of_kind(EXAMPLE / "autoscaling-keda", "ScaledObject")["spec"]["minReplicaCount"] == 0
