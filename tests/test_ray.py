"""Embedding on a Ray cluster of two nodes on this machine, one of which is lost midway.

pytest -m slow -n0 tests/test_ray.py
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_pool import picture

from cdsel_backend.pool.backbones import BackboneError, load_backbone
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.runtime import SAME, agreement

SMALL = {"weights": "random", "device": "cpu", "features": "last", "view": "fast", "precision": "float32"}
IMAGES = 640


def images() -> Iterator[tuple[int, bytes]]:
    for number in range(IMAGES):
        file = io.BytesIO()
        picture(number, (60, 40)).save(file, "PNG")
        yield number, file.getvalue()


@pytest.mark.slow
def test_a_cluster_gives_the_same_vectors_though_a_node_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    here = load_backbone("test_efficientnet", **SMALL)
    local = {item.key: item.vector for item in embed_images(here, images())}
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        there = load_backbone("test_efficientnet", **SMALL, cluster=cluster.address)
        assert there.fingerprint == here.fingerprint
        assert there.parallel == 4
        end = time.monotonic() + 300
        while "workers: 2," not in there.runtime.name and time.monotonic() < end:
            there.embed_prepared(there.example)
        assert "workers: 2," in there.runtime.name
        found = {}
        for item in embed_images(there, images()):
            found[item.key] = item.vector
            if len(found) == IMAGES // 4:
                cluster.remove_node(lost, allow_graceful=False)
        assert "a Ray worker was lost" in caplog.text
        assert "a Ray worker was lost" in there.problems[0]
        vectors = [np.stack([given[number] for number in range(IMAGES)]) for given in (found, local)]
        assert agreement(*vectors) >= SAME
        with pytest.raises(ray.exceptions.RayTaskError):  # as where the GPUs of several workers fail
            there.runtime(np.zeros((2, 3), dtype=np.uint8))
        again = there.embed_prepared(there.example)  # by new workers
        assert agreement(again, here.embed_prepared(here.example)) >= SAME
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_ray_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackboneError, match=r"cdsel-backend\[ray\]"):
        load_backbone("test_efficientnet", **SMALL, cluster="ray://127.0.0.1:1")
