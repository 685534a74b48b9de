"""How often a planted confounder and a planted proxy of the label are judged rightly: one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from made import proxied

from cdsel_backend.confounders import detect


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
            vectors, columns, labels = proxied(seed, labelled, dim=options.dim, noise=True)
            for finding in detect(vectors, columns, labels, seed=seed).findings:
                counts.setdefault(finding.variable, Counter())[str(finding.verdict)] += 1
        found[str(labelled)] = {name: dict(counter) for name, counter in counts.items()}
    print(json.dumps({"seeds": options.seeds, "dim": options.dim, "verdicts": found}))


if __name__ == "__main__":
    main()
