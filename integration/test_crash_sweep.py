"""A part of the crash sweep: some requests of each kind meet some faults, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.cluster.choice import select
from integration.crash_sweep.incidents import sample, sample_of_scheduler
from integration.crash_sweep.scene import usual_access
from integration.crash_sweep.sweep import sweep
from integration.kube import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.cluster.provider import Images

LANES = 3
"""One incident after the other would take longer than all other tests side by side."""


@pytest.fixture
def lanes(unattended: Kube) -> Iterator[list[Kube]]:
    """A namespace for each of the incidents that are played at a time."""
    kubes = [Kube(f"{unattended.namespace}-{lane}") for lane in range(LANES)]
    for kube in kubes:
        kube.create_namespace()
    try:
        yield kubes
    finally:
        for kube in kubes:
            kube.delete_namespace(wait=False)


def test_a_scale_down_loses_nothing_whatever_befalls_a_request(
    lanes: list[Kube], images: Images, tmp_path: Path
) -> None:
    report = sweep(lanes, images.dask, tmp_path, sample, access=usual_access(select()))
    assert report.success, report


def test_nor_where_the_api_server_passes_on_what_is_for_the_scheduler(
    unattended: Kube, images: Images, tmp_path: Path
) -> None:
    report = sweep([unattended], images.dask, tmp_path, sample_of_scheduler, access="proxy")
    assert report.success, report
