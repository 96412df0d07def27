"""The endpoints that the kubelet probes."""

from __future__ import annotations

import aiohttp
import pytest

from dask_k8s_operator.controller.health import serve_health


async def well() -> str | None:
    """Find nothing wrong."""
    return None


async def ill() -> str | None:
    """Find something wrong."""
    return "the API server is gone"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "the API server is gone"),
        ("/", 404, "404: Not Found"),
    ],
)
async def test_each_answers_for_itself(path: str, status: int, text: str) -> None:
    async with (
        serve_health(host="127.0.0.1", port=0, alive=well, ready=ill) as port,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        assert (answer.status, await answer.text()) == (status, text)


async def test_they_are_gone_afterwards() -> None:
    async with serve_health(host="127.0.0.1", port=0, alive=ill, ready=well) as port:
        pass
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"http://127.0.0.1:{port}/healthz")


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with serve_health(host="127.0.0.1", port=0, alive=well, ready=well) as port:
        with pytest.raises(OSError, match=str(port)):
            async with serve_health(host="127.0.0.1", port=port, alive=well, ready=well):
                pass
