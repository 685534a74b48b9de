"""Seconds of a fine-tune on this machine, images read to model made, as one JSON line.

    python tests/benchmarks/finetune.py [--labels 200] [--pool 1000] [--device cpu] [--weights random]

`read`: reading the images and running the front of the network, for the labelled ones and their altered copies and for
the images of the pool by which the head is balanced; `tune`: the fine-tune; `head`: the ordinary head on the same
labels, for comparison. The images are coarse noise whose labels mean nothing: only the time is real.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from drawn import jpeg
from plainly import plainly

from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.devices import find_device
from cdsel_backend.pool.embed import embed_images
from cdsel_backend.pool.network import DEFAULT, load_network
from cdsel_backend.pool.split import SplitNetwork, tuned_reading
from cdsel_backend.training import Pool, TrainingLabels, train_head
from cdsel_backend.training.finetune import VIEWS, fine_tune


def main() -> None:
    """Fine-tune once and print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--pool", type=int, default=1000)
    parser.add_argument("--backbone", default=DEFAULT)
    parser.add_argument("--weights", help="see `load_network`: a file, or random")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with plainly(parser):
        device = find_device(args.device)
        loaded = load_network(args.backbone, weights=args.weights)
    features, view = tuned_reading(device, "depths", "close")
    network = SplitNetwork(loaded, device, features=features, view=view, views=VIEWS)
    images = [jpeg(seed, network.size[::-1]) for seed in range(args.labels + args.pool)]
    rng = np.random.default_rng(0)
    n = len(images)
    labels = np.where(np.arange(n) < args.labels, rng.integers(0, 2, n), -1)
    columns = [Column("site", "categorical", ("a", "b"), rng.integers(0, 2, n))]

    started = time.perf_counter()
    learners = np.stack([one.vector for one in embed_images(network, enumerate(images[: args.labels]))])
    network.views = 0
    others = np.stack([one.vector for one in embed_images(network, enumerate(images[args.labels :]))])
    read = time.perf_counter() - started
    own = np.concatenate([learners[:, 0], others[:, 0]])

    network.reset()
    vectors = network.vectors(own)
    started = time.perf_counter()
    train_head(Pool(vectors, columns), TrainingLabels(labels, ["x", "y"]))
    head = time.perf_counter() - started

    started = time.perf_counter()
    found = fine_tune(network, own, learners[:, 1:], columns, TrainingLabels(labels, ["x", "y"]))
    tune = time.perf_counter() - started
    print(
        json.dumps(
            {
                "labels": args.labels,
                "pool": args.pool,
                "backbone": args.backbone,
                "device": str(device),
                "features": features,
                "view": view,
                "threads": torch.get_num_threads(),
                "read": round(read, 1),
                "tune": round(tune, 1),
                "total": round(read + tune, 1),
                "head": round(head, 2),
                "stages": found.stages,
            }
        )
    )


if __name__ == "__main__":
    main()
