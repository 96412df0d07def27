"""What the stand-ins for the Prometheus Operator and the prometheus-adapter make of the example's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.metrics_adapter import Rule
from integration.prometheus import scrape_config

EXAMPLE = Path(__file__).parents[2] / "example"
SERIES = "dask_scheduler_desired_workers"
PLURALS = {("", "namespace"): "namespaces", ("dask.charmtx.com", "cluster"): "clusters.dask.charmtx.com"}


@pytest.fixture
def monitor() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLE / "servicemonitor" / "servicemonitor.yaml").read_text())
    manifest["metadata"]["namespace"] = "here"
    return manifest


@pytest.fixture
def rule() -> dict[str, Any]:
    values = yaml.safe_load((EXAMPLE / "autoscaling-prometheus" / "adapter-values.yaml").read_text())
    (rule,) = values["rules"]["custom"]
    return dict(rule)


def test_the_monitor_scrapes_the_dashboards_of_schedulers(monitor: dict[str, Any]) -> None:
    config = scrape_config(monitor, [])
    kept = {tuple(c["source_labels"]): c["regex"] for c in config["relabel_configs"] if c.get("action") == "keep"}
    assert kept == {
        ("__meta_kubernetes_service_label_dask_charmtx_com_role",): "scheduler",
        ("__meta_kubernetes_endpoint_port_name",): r"http\-dashboard",
    }
    assert config["scrape_interval"] == "15s"


def test_the_monitor_names_the_job_after_the_cluster(monitor: dict[str, Any]) -> None:
    set_labels = {c["target_label"]: c for c in scrape_config(monitor, [])["relabel_configs"][2:]}
    assert set_labels["job"]["source_labels"] == ["__meta_kubernetes_service_label_dask_charmtx_com_cluster"]
    assert set_labels["namespace"]["source_labels"] == ["__meta_kubernetes_namespace"]


def test_a_field_that_is_not_translated_is_an_error(monitor: dict[str, Any]) -> None:
    monitor["spec"]["endpoints"][0]["path"] = "/other"
    with pytest.raises(ValueError, match="path"):
        scrape_config(monitor, [])


def test_the_rule_gives_the_metric_another_name(rule: dict[str, Any]) -> None:
    assert Rule.read(rule, PLURALS).metric(SERIES) == "dask_desired_workers"
    assert Rule.read(rule, PLURALS).metric("up") is None


def test_the_rule_asks_for_the_series_of_one_cluster(rule: dict[str, Any]) -> None:
    query = Rule.read(rule, PLURALS).promql(SERIES, resource="clusters.dask.charmtx.com", namespace="here", name="a")
    assert query == 'max(dask_scheduler_desired_workers{namespace="here",job="a"}) by (job)'


@pytest.mark.parametrize(
    ("field", "value"),
    [("metricsQuery", "<<.LabelValuesByName>>"), ("seriesFilters", []), ("resources", {"template": "<<.Resource>>"})],
)
def test_what_the_stand_in_does_not_know_is_an_error(rule: dict[str, Any], field: str, value: object) -> None:
    with pytest.raises(ValueError, match="not known"):
        Rule.read({**rule, field: value}, PLURALS)
