"""Whether the gain that the dashboard expects of the next round comes: prints one JSON line.

    python tests/benchmarks/next_round.py --metadata metadata.csv --embeddings vectors.npy --label malignant \
        --confounder site --levels A,B --group lesion_id --labels 200 --round 100 --seeds 20

Worlds are those of `cdsel simulate`. Of the pool, `--labels` images are labelled by chance, a fifth of them held out by
hash; `learning_curve` says what `--round` more would bring. What they do bring, on the test set of other groups, is
the mean over `--repeats` draws of that many labels and of those of a round more. Given are, over the seeds: both
means, how often the truth lies in the interval, the interval's mean ends, and the answers.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

import numpy as np
from joblib import Parallel, delayed
from label_noise import add_data_arguments, draw_world, read_data
from numpy.typing import NDArray
from plainly import plainly
from threadpoolctl import threadpool_limits

from cdsel_backend.labels import Labels
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.training import Pool, TrainingLabels, evaluate, is_held_out, train_head
from cdsel_backend.training.cross_fit import cross_fit
from cdsel_backend.training.curve import learning_curve

MEASURES = ("worst_group_accuracy", "balanced_accuracy")


def run_seed(
    data: Dataset, rho: str, seed: int, budget: int, more: int, repeats: int
) -> tuple[str, dict[str, tuple[float, float, float, float]]]:
    """Return the answer, and for each measure that it told: the truth, the expectation, and its interval's ends."""
    world = draw_world(data, rho, seed, budget + more)
    pool, test = data.take(world.pool), data.take(world.test)
    trainable = ~is_held_out([str(group) for group in pool.groups])
    with threadpool_limits(1, user_api="blas"):
        labels = _labelled(pool, np.arange(budget))  # the pool is in a random order
        embedded = Pool(pool.vectors, pool.columns)
        unseen = cross_fit(
            embedded, TrainingLabels(labels, pool.classes, groups=pool.groups, trainable=trainable)
        )
        now = int(trainable[unseen.rows].sum())
        answer = learning_curve(
            unseen,
            Labels(labels[unseen.rows], pool.classes),
            [column.take(unseen.rows) for column in pool.columns],
            labels_now=now,
            labels_more=round(more * now / budget),
            asked=more,
        )
        reached = np.zeros((repeats, 2, len(MEASURES)))
        for repeat in range(repeats):
            order = np.random.default_rng(1000 + repeat).permutation(len(pool))
            for place, size in enumerate((budget, budget + more)):
                head = train_head(
                    embedded,
                    TrainingLabels(
                        _labelled(pool, order[:size]), pool.classes, groups=pool.groups, trainable=trainable
                    ),
                )
                found = evaluate(
                    head.predict(test.vectors, test.columns), Labels(test.labels, data.classes), test.columns
                )
                reached[repeat, place] = [found[name] for name in MEASURES]
    truth = np.diff(reached.mean(axis=0), axis=0)[0]
    return answer["worth"], {
        name: (float(truth[place]), curve["gain"], *curve["interval"])
        for place, name in enumerate(MEASURES)
        if (curve := answer["curves"].get(name))
    }


def _labelled(pool: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    labels = np.full(len(pool), -1)
    labels[rows] = pool.labels[rows]
    return labels


def main() -> None:
    """Run the seeds and print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--round", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    with plainly(parser):
        data = read_data(args)
        runs = Parallel(n_jobs=args.jobs)(
            delayed(run_seed)(data, args.rho, seed, args.labels, args.round, args.repeats) for seed in seeds
        )
    summary = {}
    for name in MEASURES:
        truth, gain, low, high = np.array([told[name] for _, told in runs if name in told]).T
        summary[name] = {
            "worlds": len(truth),
            "truth": round(float(truth.mean()), 4),
            "expected": round(float(gain.mean()), 4),
            "interval": [round(float(low.mean()), 4), round(float(high.mean()), 4)],
            "covered": float(((low <= truth) & (truth <= high)).mean()),
        }
    answers = Counter(worth for worth, _ in runs)
    print(
        json.dumps(
            {"labels": args.labels, "round": args.round, "rho": args.rho, **summary, "answers": answers}
        )
    )


if __name__ == "__main__":
    main()
