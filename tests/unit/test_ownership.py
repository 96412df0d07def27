"""Whose fields are whose, by `metadata.managedFields`, and how the operator takes over its own."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s_operator.domain.ownership import covers, last_written, owned_fields, taken_over
from tests.unit.builders import at

LEAF: dict[str, Any] = {}
PORT = 'k:{"port":8786,"protocol":"TCP"}'
EMPTY: tuple[Any, ...] = (None, False, 0, "", {}, [])
A, B = {"f:spec": {"f:a": LEAF}}, {"f:spec": {"f:b": LEAF}}


def kept(fields: dict[str, Any], *, manager: str = "dask-operator", how: str = "Apply", **more: Any) -> dict[str, Any]:
    """An entry of `managedFields`."""
    return {"manager": manager, "operation": how, "apiVersion": "v1", "fieldsV1": fields, **more}


@pytest.mark.parametrize(
    ("fields", "value", "covered"),
    [
        ({"f:spec": {"f:type": LEAF}}, {"spec": {"type": "ClusterIP"}}, True),
        ({"f:spec": {"f:type": LEAF}}, {"spec": {"type": "ClusterIP", "clusterIP": "None"}}, False),
        ({"f:spec": {"f:type": LEAF}}, {"spec": {"type": "ClusterIP"}, "metadata": {"labels": {"a": "b"}}}, False),
        # As a whole, such as a selector.
        ({"f:spec": {"f:selector": LEAF}}, {"spec": {"selector": {"a": "b"}}}, True),
        ({"f:args": LEAF}, {"args": ["dask", "scheduler"]}, True),
        # Lists whose items are known by keys, one of which the API server may have filled in.
        (
            {"f:ports": {PORT: {".": LEAF, "f:port": LEAF, "f:name": LEAF}}},
            {"ports": [{"name": "a", "port": 8786}]},
            True,
        ),
        ({"f:ports": {PORT: {".": LEAF, "f:port": LEAF}}}, {"ports": [{"name": "a", "port": 8786}]}, False),
        ({"f:ports": {PORT: {".": LEAF, "f:port": LEAF}}}, {"ports": [{"port": 8787}]}, False),
        ({"f:finalizers": {'v:"a"': LEAF}}, {"finalizers": ["a"]}, True),
        ({"f:finalizers": {'v:"a"': LEAF}}, {"finalizers": ["a", "b"]}, False),
        # What sets nothing.
        *(({"f:spec": {"f:a": LEAF}}, {"spec": {"a": 1, "b": empty}}, True) for empty in EMPTY),
        ({"f:spec": {"f:a": LEAF}}, {"spec": {"a": 1, "b": "x"}}, False),
        # Of an object without any, nothing is known.
        ({}, {"spec": {"type": "ClusterIP"}}, True),
    ],
)
def test_what_is_the_operators(fields: dict[str, Any], value: dict[str, Any], *, covered: bool) -> None:
    assert covers(fields, value) == covered


def test_it_goes_by_several_names() -> None:
    managed = [
        kept(A),
        kept(B, how="Update"),
        kept({"f:spec": {"f:c": LEAF}}, how="Update", manager="OpenAPI-Generator"),
        kept({"f:spec": {"f:d": LEAF}}, manager="kubectl"),
        kept({"f:spec": {"f:e": LEAF}}, how="Update", subresource="scale"),
    ]
    assert owned_fields(managed) == {"f:spec": {"f:a": LEAF, "f:b": LEAF, "f:c": LEAF}}


def test_when_it_last_wrote() -> None:
    managed = [
        kept(A, time="2026-03-01T11:59:58Z"),
        kept(B, how="Update", time="2026-03-01T11:59:59Z"),
        kept(B, manager="kubectl", time="2026-03-01T12:00:00Z"),
    ]
    assert last_written(managed) == at(-1)
    assert last_written(managed[2:]) is None


class TestTakingOver:
    """What it has created or patched becomes what it applies, so that it can let go of it."""

    @pytest.mark.parametrize("managed", [(), (kept(A),), (kept(A), kept(B, manager="kubectl", how="Update"))])
    def test_there_is_nothing_to_take(self, managed: tuple[dict[str, Any], ...]) -> None:
        assert taken_over(managed) is None

    def test_what_it_created(self) -> None:
        others = kept(B, manager="kubectl", how="Update")
        status = kept(B, manager="dask-operator", how="Update", subresource="status")
        assert taken_over([kept(A, how="Update", time="t"), others, status]) == [others, status, kept(A, time="t")]

    def test_what_it_patched_since(self) -> None:
        managed = [kept(A, time="1"), kept({"f:spec": {"f:a": {"f:x": LEAF}, **B["f:spec"]}}, how="Update", time="2")]
        both = {"f:spec": {"f:a": {".": LEAF, "f:x": LEAF}, "f:b": LEAF}}
        assert taken_over(managed) == [kept(both, time="2")]

    def test_what_an_earlier_one_created(self) -> None:
        """Under a name that scripts have, too: their labels and annotations stay theirs."""
        metadata = {"f:metadata": {"f:annotations": {"f:example.com/theirs": LEAF}}}
        managed = [kept({**metadata, **A}, how="Update", manager="OpenAPI-Generator")]
        assert taken_over(managed) == [kept(metadata, how="Update", manager="OpenAPI-Generator"), kept(A)]

    def test_there_is_nothing_to_take_a_second_time(self) -> None:
        metadata = {"f:metadata": {"f:annotations": {"f:example.com/theirs": LEAF}}}
        taken = taken_over([kept({**metadata, **A}, how="Update", manager="OpenAPI-Generator")])
        assert taken is not None
        assert taken_over(taken) is None
