"""Keys, certificates, tokens and kubeconfigs of one cluster, made afresh for each."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from integration.cluster.command import call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DAYS = "3650"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


@dataclass(frozen=True)
class User:
    """Somebody who speaks to the API server with a token."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", ("system:masters",))


def write_authorities(folder: Path, *, server_names: Sequence[str], server_addresses: Sequence[str]) -> None:
    """Make the keys and certificates that the API server and the controller manager are started with.

    Writes `ca`, `server` (for the given names and addresses), `kubelet-client`, `front-proxy-ca` and `front-proxy`,
    each as `.crt` and `.key`, and the key pair `service-accounts.key` and `.pub`.
    """
    folder.mkdir(mode=0o700)
    names = [*(f"DNS:{name}" for name in server_names), *(f"IP:{address}" for address in server_addresses)]
    _authority(folder, "ca", subject="/CN=kubernetes")
    _authority(folder, "front-proxy-ca", subject="/CN=front-proxy-ca")
    _certificate(folder, "server", subject="/CN=kube-apiserver", by="ca", extension="subjectAltName=" + ",".join(names))
    _certificate(folder, "kubelet-client", subject="/O=system:masters/CN=kube-apiserver-kubelet-client", by="ca")
    _certificate(folder, "front-proxy", subject="/CN=front-proxy-client", by="front-proxy-ca")
    private, public = folder / "service-accounts.key", folder / "service-accounts.pub"
    call(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", private])
    call(["openssl", "pkey", "-in", private, "-pubout", "-out", public])


def write_users(folder: Path, *, users: dict[str, User], server: str, authority: Path) -> None:
    """Give each user a fresh token: `tokens.csv` for the API server, and one kubeconfig per key of `users`."""
    folder.mkdir(mode=0o700)
    certificate = authority.read_text()
    lines = []
    for file, user in users.items():
        token = secrets.token_hex(24)
        lines.append(f'{token},{user.name},{user.name},"{",".join(user.groups)}"')
        config = kubeconfig(server=server, certificate=certificate, user=user.name, token=token)
        _write_private(folder / file, json.dumps(config, indent=2))
    _write_private(folder / "tokens.csv", "\n".join(lines) + "\n")


def kubeconfig(*, server: str, certificate: str, user: str, token: str) -> dict[str, object]:
    """A kubeconfig with one context; JSON, which is YAML too."""
    authority = b64encode(certificate.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user, "namespace": "default"}}],
        "current-context": "local",
    }


def _authority(folder: Path, name: str, *, subject: str) -> None:
    extension = ("-addext", "keyUsage=critical,keyCertSign,digitalSignature")
    _openssl_request(folder, name, subject, *extension)


def _certificate(folder: Path, name: str, *, subject: str, by: str, extension: str = "") -> None:
    signer = ("-CA", str(folder / f"{by}.crt"), "-CAkey", str(folder / f"{by}.key"))
    usage = ("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth,clientAuth")
    _openssl_request(folder, name, subject, *signer, *usage, *(("-addext", extension) if extension else ()))


def _openssl_request(folder: Path, name: str, subject: str, *more: str) -> None:
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    call(["openssl", "req", "-x509", *_KEY, "-days", _DAYS, "-subj", subject, *files, *more])


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
