"""Who may speak to the API server, and how they say who they are."""

from __future__ import annotations

import csv
import json
import stat
from typing import TYPE_CHECKING

from integration.cluster.credentials import User, write_users

if TYPE_CHECKING:
    from pathlib import Path


def test_each_user_has_a_secret_of_their_own_that_the_server_knows(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("certificate")
    users = {"admin": User("admin", ("masters", "others")), "dns": User("system:dns")}
    write_users(tmp_path / "users", users=users, server="https://server", authority=authority)
    configs = {name: json.loads((tmp_path / "users" / name).read_text()) for name in users}
    tokens = {name: config["users"][0]["user"]["token"] for name, config in configs.items()}
    assert len(set(tokens.values())) == 2
    with (tmp_path / "users" / "tokens.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        [tokens["admin"], "admin", "admin", "masters,others"],
        [tokens["dns"], "system:dns", "system:dns", ""],
    ]
    assert configs["admin"]["clusters"][0]["cluster"]["server"] == "https://server"


def test_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.touch()
    write_users(tmp_path / "users", users={"admin": User("admin")}, server="https://server", authority=authority)
    for file in (tmp_path / "users").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
