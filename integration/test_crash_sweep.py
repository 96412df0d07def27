"""A part of the crash sweep: some requests of each kind meet some faults, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.cluster.choice import select
from integration.crash_sweep.incidents import sample, sample_of_scheduler
from integration.crash_sweep.scene import usual_access
from integration.crash_sweep.sweep import side_by_side, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube

LANES = 3
"""One incident after the other would take longer than all other tests side by side."""


@pytest.mark.waits_long
def test_a_scale_down_loses_nothing_whatever_befalls_a_request(
    unattended: Kube, images: Images, tmp_path: Path
) -> None:
    with side_by_side(unattended.namespace, LANES) as kubes:
        report = sweep(kubes, images.dask, tmp_path, sample, access=usual_access(select()))
    assert report.success, report


@pytest.mark.waits_long
def test_nor_where_the_api_server_passes_on_what_is_for_the_scheduler(
    unattended: Kube, images: Images, tmp_path: Path
) -> None:
    report = sweep([unattended], images.dask, tmp_path, sample_of_scheduler, access="proxy")
    assert report.success, report
