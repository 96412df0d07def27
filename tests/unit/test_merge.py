"""Templates laid over defaults."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s_operator.domain.merge import merge


@pytest.mark.parametrize(
    ("default", "user", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
        # Objects by field.
        ({"x": {"a": 1, "b": 2}}, {"x": {"b": 3, "c": 4}}, {"x": {"a": 1, "b": 3, "c": 4}}),
        ({"x": {"a": 1}}, {"x": "text"}, {"x": "text"}),
        ({"x": "text"}, {"x": {"a": 1}}, {"x": {"a": 1}}),
        # Null takes a default away.
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"x": {"a": 1, "b": 2}}, {"x": {"a": None}}, {"x": {"b": 2}}),
        ({}, {"a": None}, {}),
        # Lists nobody knows more about are replaced.
        ({"tolerations": [1]}, {"tolerations": [2]}, {"tolerations": [2]}),
        ({"tolerations": [1]}, {"tolerations": []}, {"tolerations": []}),
        ({"text": "abc"}, {"text": "d"}, {"text": "d"}),
    ],
)
def test_fields(default: dict[str, Any], user: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge(default, user) == merged


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe", "startupProbe", "preStop", "postStart"])
def test_half_of_two_probes_is_no_probe(probe: str) -> None:
    default = {probe: {"tcpSocket": {"port": 1}, "periodSeconds": 2}}
    assert merge(default, {probe: {"exec": {"command": ["x"]}}}) == {probe: {"exec": {"command": ["x"]}}}


@pytest.mark.parametrize("words", ["command", "args"])
def test_words_are_replaced_as_a_whole(words: str) -> None:
    assert merge({words: ["a", "b", "c"]}, {words: ["d"]}) == {words: ["d"]}


def test_a_null_probe_is_no_probe() -> None:
    assert merge({"readinessProbe": {"periodSeconds": 2}}, {"readinessProbe": None}) == {}


@pytest.mark.parametrize("field", ["containers", "initContainers"])
def test_containers_by_name(field: str) -> None:
    default = [{"name": "worker", "image": "a", "tty": True}]
    user = [{"name": "sidecar", "image": "s"}, {"name": "worker", "image": "b"}]
    assert merge({field: default}, {field: user})[field] == [
        {"name": "worker", "image": "b", "tty": True},
        {"name": "sidecar", "image": "s"},
    ]


@pytest.mark.parametrize(
    ("field", "default", "user", "merged"),
    [
        # The user's variable replaces ours; ours come first, because $(NAME) needs NAME before it.
        (
            "env",
            [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            [{"name": "C", "value": "$(B)"}, {"name": "A", "value": "3"}],
            [{"name": "B", "value": "2"}, {"name": "C", "value": "$(B)"}, {"name": "A", "value": "3"}],
        ),
        # Replaced, not mixed: a value beside a valueFrom is refused.
        ("env", [{"name": "A", "value": "1"}], [{"name": "A", "valueFrom": {}}], [{"name": "A", "valueFrom": {}}]),
        ("volumes", [{"name": "v", "emptyDir": {}}], [{"name": "v", "hostPath": {}}], [{"name": "v", "hostPath": {}}]),
        (
            "volumeMounts",
            [{"name": "a", "mountPath": "/x"}, {"name": "a", "mountPath": "/y"}],
            [{"name": "b", "mountPath": "/x"}],
            [{"name": "a", "mountPath": "/y"}, {"name": "b", "mountPath": "/x"}],
        ),
        # A container's ports: by name, or else by number and protocol.
        (
            "ports",
            [{"name": "p", "containerPort": 1}],
            [{"name": "p", "containerPort": 2}],
            [{"name": "p", "containerPort": 2}],
        ),
        (
            "ports",
            [{"name": "p", "containerPort": 1, "protocol": "TCP"}],
            [{"name": "q", "containerPort": 1}],
            [{"name": "q", "containerPort": 1}],
        ),
        (
            "ports",
            [{"name": "p", "containerPort": 1, "protocol": "TCP"}],
            [{"containerPort": 1, "protocol": "UDP"}],
            [{"name": "p", "containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "UDP"}],
        ),
        # A Service's ports, the same.
        (
            "ports",
            [{"name": "p", "port": 1, "protocol": "TCP"}, {"name": "q", "port": 2, "protocol": "TCP"}],
            [{"name": "q", "port": 2, "nodePort": 30000}, {"name": "r", "port": 3}],
            [
                {"name": "p", "port": 1, "protocol": "TCP"},
                {"name": "q", "port": 2, "nodePort": 30000},
                {"name": "r", "port": 3},
            ],
        ),
        # Items without the key are added, and don't count as each other.
        ("env", [{"value": "1"}], [{"value": "2"}], [{"value": "1"}, {"value": "2"}]),
        # What can't be a key is none.
        ("env", [{"name": "a"}], [{"name": {}}], [{"name": "a"}, {"name": {}}]),
        ("containers", [{"name": "a"}], [{"name": {}}], [{"name": "a"}, {"name": {}}]),
    ],
)
def test_lists_with_keys(field: str, default: list[Any], user: list[Any], merged: list[Any]) -> None:
    assert merge({field: default}, {field: user}) == {field: merged}


leaves = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "TCP"])
fields = st.sampled_from(["name", "containers", "env", "ports", "port", "protocol", "x", "args", "readinessProbe"])
objects = st.recursive(
    st.dictionaries(fields, leaves, max_size=3),
    lambda inner: st.dictionaries(fields, leaves | inner | st.lists(inner, max_size=3), max_size=3),
    max_leaves=10,
)
user_wins = given(
    st.fixed_dictionaries({"containers": st.lists(objects.map(lambda o: o | {"name": "worker"}), max_size=1)}), objects
)


@user_wins
def test_what_the_user_says_is_there(default: dict[str, Any], user: dict[str, Any]) -> None:
    """And neither side is changed by it."""
    before = copy.deepcopy((default, user))
    merged = merge(default, user)
    assert (default, user) == before
    for key, value in user.items():
        if value is None:
            assert key not in merged
        elif not isinstance(value, dict | list):
            assert merged[key] == value


@given(objects)
def test_nothing_said_changes_nothing(default: dict[str, Any]) -> None:
    assert merge(default, {}) == default
