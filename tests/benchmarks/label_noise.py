"""What wrong labels cost, and how many of them are found: prints one JSON line.

    python tests/benchmarks/label_noise.py --metadata metadata.csv --embeddings vectors.npy --label malignant \
        --confounder site --levels A,B --group lesion_id --seeds 20

Worlds are those of `cdsel simulate` (a pool where the site predicts the label with `--rho`, a test set of other groups
that keeps its labels); of the pool, `--labels` images are labelled by chance and a share of these labels is changed to
another class. The de-confounded head is trained on all of them. Each measure is a mean over the seeds with its 95 %
interval (normal); `fall` is paired with the same seed without noise. `suspects`: what `find_suspects` lists from heads
that have not seen the label, with its precision and recall; `issues`: the whole list of confident learning, which has
no limit; `rare` and `common`: the share of right labels that it suspects in the (label, level) cells that are rare and
common in the pool. `unaware`: the same from heads that do not know of the confounder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from plainly import plainly
from threadpoolctl import threadpool_limits

from cdsel_backend.labels import Labels
from cdsel_backend.pool.columns import Column
from cdsel_backend.simulate.dataset import Dataset, load_dataset, two_levels
from cdsel_backend.simulate.vectors import read_embeddings
from cdsel_backend.simulate.worlds import World, make_world
from cdsel_backend.table import UsageError, read_table
from cdsel_backend.training import Pool, TrainingLabels, TrainingOptions, evaluate, train_head
from cdsel_backend.training.cross_fit import cross_fit
from cdsel_backend.training.suspects import find_suspects, label_issues

NOISE = (0.0, 0.05, 0.1, 0.2)
MEASURES = ("worst_group_accuracy", "balanced_accuracy", "group_balanced_accuracy")


def draw_world(data: Dataset, rho: str, seed: int, labels: int) -> World:
    """A world whose pool holds so many images to label."""
    world = make_world(data, rho, seed, 1)
    if len(world.pool) < labels:
        raise UsageError(
            f"--labels: {labels} images are to be labelled, and the pool of seed {seed} holds {len(world.pool)}: give "
            "fewer, or other --levels"
        )
    return world


def run_seed(data: Dataset, rho: str, seed: int, budget: int) -> list[dict[str, float]]:
    """Return the figures of each noise level of one world."""
    world = draw_world(data, rho, seed, budget)
    pool, test = data.take(world.pool), data.take(world.test)
    rng = np.random.default_rng(seed)
    rows, order = np.sort(rng.permutation(len(pool))[:budget]), rng.permutation(budget)
    found = []
    with threadpool_limits(1, user_api="blas"):
        for noise in NOISE:
            wrong = np.zeros(len(pool), dtype=bool)
            wrong[rows[order[: round(noise * budget)]]] = (
                True  # nested: more noise keeps the wrong labels of less
            )
            labels = np.full(len(pool), -1)
            labels[rows] = pool.labels[rows]
            labels[wrong] = (labels[wrong] + 1) % len(data.classes)
            head = train_head(
                Pool(pool.vectors, pool.columns),
                TrainingLabels(labels, data.classes, groups=pool.groups),
                TrainingOptions(seed=seed),
            )
            metrics = evaluate(
                head.predict(test.vectors, test.columns), Labels(test.labels, data.classes), test.columns
            )
            told = {name: float(metrics[name]) for name in MEASURES}
            for prefix, columns in (("", pool.columns), ("unaware_", ())):
                told |= {
                    f"{prefix}{name}": value
                    for name, value in _found(pool, columns, labels, wrong, seed).items()
                }
            found.append(told)
    return found


def _found(
    pool: Dataset,
    columns: tuple[Column, ...],
    labels: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    seed: int,
) -> dict[str, float]:
    unseen = cross_fit(
        Pool(pool.vectors, columns),
        TrainingLabels(labels, pool.classes, groups=pool.groups),
        TrainingOptions(seed=seed),
    )
    said, given, wrong = unseen.at_full_size(), labels[unseen.rows], wrong[unseen.rows]
    listed = np.zeros(len(given), dtype=bool)
    listed[[one.row for one in find_suspects(said, Labels(given, ()))]] = True
    issues = label_issues(said, given)
    site = pool.columns[0].codes
    counts = np.zeros((len(pool.classes), 2))
    np.add.at(counts, (pool.labels, site), 1)
    rare = (counts / counts.sum(axis=0))[given, site[unseen.rows]] < 1 / len(pool.classes)
    told = {"listed": float(listed.sum()), "suspected": float(issues.sum())}
    for name, mask in (("suspects", listed), ("issues", issues)):
        told[f"{name}_precision"] = float(wrong[mask].mean()) if mask.any() else np.nan
        told[f"{name}_recall"] = float(mask[wrong].mean()) if wrong.any() else np.nan
    told["rare"], told["common"] = (float(issues[cell & ~wrong].mean()) for cell in (rare, ~rare))
    return told


def summary(values: NDArray[np.float64]) -> list[float] | None:
    """Mean, and the ends of its 95 % interval over the seeds."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return [round(float(x), 4) for x in (values.mean(), values.mean() - half, values.mean() + half)]


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `read_data` and the worlds go by."""
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--confounder", required=True)
    parser.add_argument("--levels", default="", help="two levels, as a,b; by default the two largest")
    parser.add_argument("--group")
    parser.add_argument("--rho", default="0.8")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)


def read_data(args: argparse.Namespace) -> Dataset:
    """Read the table and the vectors, and keep two levels of the confounder."""
    rows = read_table(args.metadata)
    data = load_dataset(
        rows,
        read_embeddings(args.embeddings, len(rows)),
        name="data",
        label=args.label,
        confounders=(args.confounder,),
        group=args.group,
    )
    return two_levels(data, tuple(args.levels.split(",")) if args.levels else ())


def main() -> None:
    """Run the seeds and print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    parser.add_argument("--labels", type=int, default=400)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    with plainly(parser):
        data = read_data(args)
        runs = Parallel(n_jobs=args.jobs)(
            delayed(run_seed)(data, args.rho, seed, args.labels) for seed in seeds
        )
    answer = {}
    for place, noise in enumerate(NOISE):
        values = {name: np.array([run[place][name] for run in runs]) for name in runs[0][0]}
        falls = {
            f"fall_{name}": np.array([run[0][name] - run[place][name] for run in runs]) for name in MEASURES
        }
        answer[str(noise)] = {name: summary(drawn) for name, drawn in (values | falls).items()}
    print(json.dumps({"labels": args.labels, "rho": args.rho, "seeds": [*seeds], "noise": answer}))


if __name__ == "__main__":
    main()
