"""Time the cold-start selection of `confounder_aware` beside Lightly's, in turn, and print one JSON line.

    python tests/benchmarks/selection.py --items 100000 --dim 384 --budget 1000

Both get the same items and the same two levels to balance (`alpha` 0). `seconds` and `peer_seconds` are medians
over `--repeats`, each repeat timing one and then the other; `peak_gb` is the process's peak memory after our runs,
items included. `objective` is our coverage plus strata as a share of exact greedy's, at `--objective-items` items;
`objective_above_random` is the same share with what a random selection reaches taken off both.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import scipy
from numpy.typing import NDArray

from cdsel_backend.pool.columns import Column
from cdsel_backend.selection import Problem, SelectionOptions, select, strategies


def make_problem(items: int, dim: int, seed: int = 0) -> Problem:
    """Draw clusters of unequal size whose variance falls off over the dimensions as that of image features does."""
    rng = np.random.default_rng(seed)
    scale = (1 / np.sqrt(1 + np.arange(dim))).astype(np.float32)
    centres = rng.standard_normal((60, dim), dtype=np.float32) * scale
    cluster = rng.choice(60, items, p=rng.dirichlet(np.ones(60)))
    vectors = rng.standard_normal((items, dim), dtype=np.float32)
    vectors *= scale * 0.7
    for start in range(0, items, 10_000):  # in blocks, so that the peak is ours and not the drawing's
        vectors[start : start + 10_000] += centres[cluster[start : start + 10_000]]
    codes = (rng.random(items) < 0.3).astype(np.int64)
    return Problem(
        vectors=vectors,
        columns=[Column("site", "categorical", ("a", "b"), codes)],
        labels=np.full(items, -1, dtype=np.int64),
        n_classes=2,
        taken=np.zeros(items, dtype=bool),
        seed=seed,
        options=SelectionOptions(alpha=0.0, random_share=0.0),
    )


def objective(problem: Problem, kernel: NDArray[np.float32], chosen: NDArray[np.int64]) -> float:
    """Return F of the chosen: coverage under the full kernel matrix (n, n), plus strata."""
    codes, balance = problem.columns[0].codes, problem.options.balance
    counts = np.bincount(codes[chosen], minlength=2)
    of_strata = scipy.special.digamma(counts + 0.5) - scipy.special.digamma(0.5)
    return float(kernel[:, chosen].max(axis=1).mean() + balance * 0.5 * of_strata.sum())


def exact_greedy(problem: Problem, kernel: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """Pick the largest gain of F, every gain computed anew at every step."""
    codes, balance = problem.columns[0].codes, problem.options.balance
    covered = np.zeros(len(problem), dtype=np.float32)
    counts = np.zeros(2)
    chosen: list[int] = []
    for _ in range(size):
        gain = np.zeros(len(problem))
        for start in range(0, len(problem), 512):
            rows = slice(start, start + 512)
            gain += np.maximum(kernel[rows] - covered[rows, None], 0).sum(axis=0)
        gain /= len(problem)
        gain += (balance * 0.5 / (counts + 0.5))[codes]
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        counts[codes[best]] += 1
        np.maximum(covered, kernel[:, best], out=covered)
    return np.array(chosen)


def quality(items: int, budget: int, dim: int) -> tuple[float, float]:
    """Return our F as a share of exact greedy's, and the same with a random selection's F taken off both."""
    problem = make_problem(items, dim, seed=1)
    square = (problem.vectors**2).sum(axis=1)
    kernel = np.maximum(square[:, None] - 2 * problem.vectors @ problem.vectors.T + square, 0)
    reach = np.median(np.partition(kernel, items // budget, axis=1)[:, items // budget])
    np.exp(kernel / (-2 * reach), out=kernel)
    exact = objective(problem, kernel, exact_greedy(problem, kernel, budget))
    ours = objective(problem, kernel, select("confounder_aware", problem, budget).indices)
    chance = objective(problem, kernel, select("stratified", problem, budget).indices)
    return ours / exact, (ours - chance) / (exact - chance)


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Return the figures of the JSON line."""
    problem = make_problem(args.items, args.dim)
    with_peer = "lightly" in strategies() and not args.no_peer
    names = ["confounder_aware"] + ["lightly"] * with_peer
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peak = 0
    for _ in range(args.repeats):
        for name in names:
            start = time.perf_counter()
            select(name, problem, args.budget)
            seconds[name].append(time.perf_counter() - start)
            if not peak:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = float(np.median(seconds["confounder_aware"]))
    peer = float(np.median(seconds["lightly"])) if with_peer else None
    share, above_random = quality(args.objective_items, args.objective_budget, args.dim)
    return {
        "items": args.items,
        "dim": args.dim,
        "budget": args.budget,
        "seconds": round(ours, 2),
        "peer_seconds": None if peer is None else round(peer, 2),
        "ratio": None if peer is None else round(ours / peer, 3),
        "peak_gb": round(peak / 2**20, 2),
        "objective": round(share, 4),
        "objective_above_random": round(above_random, 3),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="leave Lightly out")
    parser.add_argument("--objective-items", type=int, default=10_000)
    parser.add_argument("--objective-budget", type=int, default=100)
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
