"""Where a checkout's cluster keeps things."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.cluster.paths import CLUSTER_VARIABLE, Paths


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", CLUSTER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_two_checkouts_share_the_cache_and_nothing_else(tmp_path: Path) -> None:
    one, other = Paths.of(tmp_path / "one"), Paths.of(tmp_path / "other")
    assert one.cache == other.cache
    assert one.key != other.key
    assert one.prefix != other.prefix
    assert one.state != other.state
    assert one.key in one.prefix
    assert one.key in one.state.parts


def test_a_checkout_is_the_same_by_each_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "link").symlink_to("checkout")
    assert Paths.of(tmp_path / "link") == Paths.of(tmp_path / "checkout")


def test_the_environment_names_a_further_cluster_of_the_same_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = Paths.here()
    monkeypatch.setenv(CLUSTER_VARIABLE, "further")
    further = Paths.here()
    assert further.checkout == ordinary.checkout
    assert further.key != ordinary.key
    assert (further.checkout / "pyproject.toml").is_file()


def test_the_user_may_move_state_and_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    paths = Paths.of(home)
    assert paths.state.parent.parent == home / ".local" / "state"
    assert paths.cache.parent == home / "elsewhere"
