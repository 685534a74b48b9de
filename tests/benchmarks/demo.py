"""The champion of a whole demo against plain training on the same labels: prints one JSON line.

    python tests/benchmarks/demo.py --metadata metadata.csv --label malignant --confounder site --group lesion_id

For each seed a pool of `--items` images is drawn in which the site predicts the label with `--rho` (as `cdsel simulate`
does), and `cdsel demo --auto` labels `--budget` of them in `--rounds` rounds: a real Label Studio, a real backend.
`champion` and `same_labels` are accuracies on images of patients none of whose images was offered for labelling, one
a seed; `gain` is the mean of their paired differences with its 95 % interval (Student's t). Minutes a seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from plainly import plainly

from cdsel_backend.simulate.dataset import load_dataset, two_levels
from cdsel_backend.simulate.summary import FAIR, WORST, estimate
from cdsel_backend.simulate.worlds import make_world
from cdsel_backend.table import read_table


def write_pool(args: argparse.Namespace, seed: int, table: Path) -> None:
    """Write the table of a resampled pool: its image, label, confounder and group, nothing else."""
    rows = read_table(args.metadata)
    none = np.zeros(
        (len(rows), 1), dtype=np.float32
    )  # where images lie among vectors does not matter to the draw
    data = load_dataset(
        rows, none, name="data", label=args.label, confounders=(args.confounder,), group=args.group
    )
    data = two_levels(data, tuple(args.levels.split(",")) if args.levels else ())
    drawn = data.rows[make_world(data, args.rho, seed, len(data.classes) - 1).pool[: args.items]]
    names = [args.image_column, args.label, args.confounder, *([args.group] if args.group else [])]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows[row] for row in drawn)


def run_demo(args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Run one demo; returns what it writes with --json."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder, "pool.csv"), Path(folder, "out.json")
        write_pool(args, seed, table)
        command = [
            sys.executable,
            "-m",
            "cdsel_backend.cli",
            "demo",
            "--auto",
            "--seed",
            str(seed),
            "--json",
            str(out),
        ]
        command += ["--metadata", str(table), "--images", str(args.images or args.metadata.parent)]
        command += ["--image-column", args.image_column, "--label", args.label]
        command += ["--group", args.group] if args.group else []
        command += ["--rounds", str(args.rounds), "--round-size", str(args.budget // args.rounds)]
        command += ["--budget", str(args.budget)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def main() -> None:
    """Run the seeds and print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="by default the table's folder")
    parser.add_argument("--image-column", default="file")
    parser.add_argument("--label", required=True)
    parser.add_argument("--confounder", required=True)
    parser.add_argument("--levels", default="", help="two levels, as a,b; by default the two largest")
    parser.add_argument("--group")
    parser.add_argument("--rho", default="0.8")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    with plainly(parser):
        runs = [run_demo(args, seed) for seed in range(args.seeds)]
    answer: dict[str, Any] = {
        "items": runs[0]["items"],
        "rho": args.rho,
        "labels": [run["labels_total"] for run in runs],
        "seconds": [run["rounds"][-1]["seconds"] for run in runs],
    }
    for metric in (WORST, FAIR):
        marks = {
            "champion": [run["rounds"][-1]["metrics"][metric] for run in runs],
            "same_labels": [run["plain_training"]["same_labels"][metric] for run in runs],
            "random_labels": [run["plain_training"]["random_labels"][metric] for run in runs],
        }
        gain = estimate(np.subtract(marks["champion"], marks["same_labels"]))
        answer[metric] = marks | {
            "gain": {name: value if np.isfinite(value) else None for name, value in gain.to_json().items()}
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
