"""How long detection takes: `python tests/benchmarks/confounders.py --items 100000` prints one JSON line."""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np

from cdsel_backend.confounders import detect
from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column


def main() -> None:
    """Plant one confounder among unrelated variables and time the search for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--variables", type=int, default=10)
    parser.add_argument("--dim", type=int, default=384)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    n = options.items
    labels = rng.integers(0, 2, n)
    vectors = rng.standard_normal((n, options.dim), dtype=np.float32)
    columns = [
        Column(f"v{i}", "categorical", tuple("abcdefgh"[: 2 + i % 7]), rng.integers(0, 2 + i % 7, n))
        for i in range(options.variables)
    ]
    planted = np.where(rng.random(n) < 0.8, labels, 1 - labels)
    columns[0] = Column("planted", "categorical", ("a", "b"), planted)
    vectors[:, 0] += 2 * planted
    started = time.perf_counter()
    report = detect(vectors, columns, Labels(labels, ("no", "yes"), groups=rng.integers(0, n // 2, n)))
    print(
        json.dumps(
            {
                "items": n,
                "variables": options.variables,
                "seconds": round(time.perf_counter() - started, 2),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "confounders": report.confounders,
            }
        )
    )


if __name__ == "__main__":
    main()
