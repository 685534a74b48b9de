"""How often a planted confounder and a planted proxy of the label are judged rightly: one JSON line."""

from __future__ import annotations

import argparse
import json
from collections import Counter

import numpy as np

from cdsel_backend.confounders import detect
from cdsel_backend.pool.columns import Column


def world(seed: int, labelled: int, dim: int, n: int = 1200) -> tuple[np.ndarray, list[Column], np.ndarray]:
    """A visible label; `site` that shows by itself; `proxy` that agrees with the label and leaves no mark; `noise`."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    site, proxy = (np.where(rng.random(n) < 0.8, label, 1 - label) for _ in range(2))
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors[:, 0] += 2.5 * label
    vectors[:, 1] += 2.5 * site
    given = np.full(n, -1)
    some = rng.permutation(n)[:labelled]
    given[some] = label[some]
    columns = {"site": site, "proxy": proxy, "noise": rng.integers(0, 2, n)}
    return vectors, [Column(name, "categorical", ("a", "b"), codes) for name, codes in columns.items()], given


def main() -> None:
    """Judge the planted variables in many seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1200])
    parser.add_argument("--dim", type=int, default=64)
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, int]]] = {}
    for labelled in options.labels:
        counts: dict[str, Counter[str]] = {}
        for seed in range(options.seeds):
            vectors, columns, labels = world(seed, labelled, options.dim)
            for finding in detect(vectors, columns, labels, classes=("no", "yes"), seed=seed).findings:
                counts.setdefault(finding.variable, Counter())[str(finding.verdict)] += 1
        found[str(labelled)] = {name: dict(counter) for name, counter in counts.items()}
    print(json.dumps({"seeds": options.seeds, "dim": options.dim, "verdicts": found}))


if __name__ == "__main__":
    main()
