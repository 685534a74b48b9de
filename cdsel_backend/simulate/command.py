"""`cdsel simulate`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cdsel_backend.pool.backbones import View
from cdsel_backend.pool.depths import Features
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.pool.label_cells import label_of
from cdsel_backend.pool.network import DEFAULT as DEFAULT_BACKBONE
from cdsel_backend.selection import missing_peers, strategies
from cdsel_backend.simulate.checkpoint import Checkpoint
from cdsel_backend.simulate.compare import compare
from cdsel_backend.simulate.dataset import Dataset, two_levels
from cdsel_backend.simulate.option_types import Budgets, Correlations, Names
from cdsel_backend.simulate.outcome import Outcome
from cdsel_backend.simulate.output import write
from cdsel_backend.simulate.plan import OPTIONS, ORACLE, TRAININGS, TUNED, Plan, check_budgets
from cdsel_backend.simulate.reading import read, read_pictures, teller
from cdsel_backend.simulate.runner import run_plan
from cdsel_backend.table import UsageError, read_table

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OF_IMAGES = ("images", "backbone", "features", "view", "cache")  # options that say nothing of given vectors


@click.command()
@click.option("--metadata", type=FILE, required=True, help="CSV table with a header, one row an image.")
@click.option(
    "--images",
    type=FOLDER,
    help="Folder that the paths of --image-column start from.  [default: the table's own]",
)
@click.option("--image-column", default="file", show_default=True, help="Column with the image's path.")
@click.option(
    "--embeddings",
    type=FILE,
    help=".npy file of vectors (rows, d) in the table's order, instead of the images.",
)
@click.option("--label", required=True, help="Column with the label.")
@click.option(
    "--positive", help="The label that --correlation counts as positive.  [default: the last in sorted order]"
)
@click.option(
    "--confounder", type=Names(), default="auto", show_default=True,
    help="Column (or columns) to treat as confounders; auto: what detection names from the labels.",
)  # fmt: skip
@click.option(
    "--levels",
    type=Names(),
    default=(),
    help="The two levels to resample, as a,b.  [default: the two largest]",
)
@click.option(
    "--group", help="Column that names the patient or lesion: its images stay on one side of the split."
)
@click.option(
    "--ignore", type=Names(), default=(), help="Columns that are no candidates for --confounder auto, as a,b."
)
@click.option(
    "--correlation", type=Correlations(), default="natural", show_default=True,
    help="natural: the data as they are. Numbers: resample so that P(positive) is rho at the first level, 1 - rho at "
    "the second.",
)  # fmt: skip
@click.option(
    "--budget",
    type=Budgets(),
    default="100,200,400",
    show_default=True,
    help="Labels to spend in all, each tried.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds that a budget is spent in."
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Repetitions, each with its own split.",
)
@click.option(
    "--first-seed", type=click.IntRange(0), default=0, show_default=True,
    help="Number of the first repetition: other numbers, other splits.",
)  # fmt: skip
@click.option(
    "--strategy", type=Names(), default="all", show_default=True, help="all, or names of strategies as a,b."
)
@click.option(
    "--random-share", type=click.FloatRange(0, 1), default=OPTIONS.random_share, show_default=True,
    help="Share of a round drawn from the whole pool by chance (confounder_aware).",
)  # fmt: skip
@click.option("--group-cap", type=click.IntRange(1), help="At most so many images of one --group.")
@click.option(
    "--near-duplicate", type=click.FloatRange(0, 1, min_open=True),
    help="Leave out images whose cosine similarity to a chosen one is at least this.",
)  # fmt: skip
@click.option(
    "--training", type=Names(), default=",".join(TRAININGS), show_default=True,
    help="Ways to train: the head; backbone: a fine-tune, too, of the images, in minutes a run; auto: the fine-tune "
    "unless it is worse on labels not seen.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results."
)
@click.option(
    "--backbone",
    type=Names(),
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="timm model that embeds --images, and is fine-tuned; name=FILE for a local checkpoint. Several, as a,b, are "
    "compared, and no strategy is run.",
)
@click.option(
    "--features", type=click.Choice(get_args(Features)), default="depths", show_default=True,
    help="What is read of the backbone: averages of several depths, or its last layer.",
)  # fmt: skip
@click.option(
    "--view", type=click.Choice(get_args(View)), default="close", show_default=True,
    help="How large the backbone sees an image: close, with twice the pixels it was trained on; fast, at its own size.",
)  # fmt: skip
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path),
    default=user_cache_path("cdsel", appauthor=False), show_default="the user's folder for caches",
    help="Folder that keeps the vectors of images.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [default: one a processor]")
def simulate(**given: Any) -> None:
    """Test strategies on labelled history: what would they have bought, and what would it have taught?

    Every strategy spends the budget on the table's images in rounds, as in production, and its head is tested
    on other patients. Writes results.csv, groups.csv, summary.json and report.html, and ends with the labels saved.
    """
    console = Console()
    try:
        _simulate(console, **given)
    except (UsageError, BackboneError) as fault:
        raise click.ClickException(str(fault)) from fault


def _simulate(console: Console, *, out: Path, jobs: int | None, **given: Any) -> None:
    """Run the backtest with the options as they were `given`."""
    names, absent = _strategies(given["strategy"])
    trainings = _known("--training", given["training"], (*TRAININGS, *TUNED))
    if given["group_cap"] and not given["group"]:
        raise UsageError("--group-cap counts images of one patient or lesion; name the column with --group")
    if absent:
        console.print(
            f"Left out, for the extra is not installed (pip install 'cdsel-backend[peers]'): {', '.join(absent)}"
        )
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        ) as progress,
        tempfile.TemporaryDirectory(prefix="cdsel-simulate-") as scratch,
    ):
        rows = read_table(given["metadata"])
        if len(given["backbone"]) > 1:
            compare(console, given | {"out": out}, rows, progress)
            return
        data = read(given, rows, progress, given["backbone"][0])
        sets = {
            c: data if c == "natural" else two_levels(data, given["levels"]) for c in given["correlation"]
        }
        if set(trainings) & set(TUNED):
            sets = read_pictures(given, rows, sets, Path(scratch) / "activations.npy", progress)
        plan = _plan(data, names, trainings, given)
        for fault in check_budgets(sets, plan):
            raise UsageError(f"{fault}; ask for less")
        checkpoint = Checkpoint(out, sets, plan, [given[name] for name in ("backbone", "features", "view")])
        outcome = _run(sets, plan, jobs or os.cpu_count() or 1, checkpoint, progress)
    write(console, out, data, sets, plan, outcome, _settings(data, plan, absent, given))
    checkpoint.remove()


def _plan(data: Dataset, names: tuple[str, ...], trainings: tuple[str, ...], given: dict[str, Any]) -> Plan:
    """Return the runs that the options ask for."""
    return Plan(
        strategies=names,
        trainings=trainings,
        correlations=given["correlation"],
        budgets=given["budget"],
        rounds=given["rounds"],
        seeds=given["seeds"],
        first_seed=given["first_seed"],
        positive=_positive(data, given["positive"]),
        options=replace(
            OPTIONS,
            random_share=given["random_share"],
            group_cap=given["group_cap"],
            near_duplicate=given["near_duplicate"],
        ),
    )


def _run(
    sets: dict[str, Dataset], plan: Plan, jobs: int, checkpoint: Checkpoint, progress: Progress
) -> Outcome:
    """Run a plan, from where its checkpoint stands."""
    tell, outcome = teller(progress), Outcome()
    try:
        for number, found in enumerate(run_plan(sets, plan, jobs, checkpoint), start=1):
            outcome.add(found)
            tell("Running strategies", number, len(plan.units))
    except KeyboardInterrupt as stopped:
        stopped.args = ("What is done is kept: the same command goes on from there.",)
        raise
    return outcome


def _settings(data: Dataset, plan: Plan, absent: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as summary.json has them, with what came of those that leave something to be found."""
    notes = list(data.notes)
    if "ji2025" in plan.strategies:
        notes.append("ji2025 reduces by PCA here: t-SNE, its other way, takes seconds a round.")
    unread = _OF_IMAGES if given["embeddings"] and not set(plan.trainings) & set(TUNED) else ()
    return {key: None if key in unread else _json(value) for key, value in given.items()} | {
        "strategy": list(plan.strategies),
        "confounder": [column.name for column in data.columns],
        "left_out": list(absent),
        "positive": data.classes[plan.positive],
        "items": len(data),
        "notes": notes,
    }


def _strategies(asked: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the strategies to run, and the peers that "all" leaves out."""
    known = (*strategies(), ORACLE)
    absent = missing_peers()
    if asked == ("all",):
        return known, absent
    for name in asked:
        if name in absent:
            raise UsageError(f"--strategy {name} needs the extra: pip install 'cdsel-backend[peers]'")
    if set(asked) <= {ORACLE}:
        raise UsageError(f"--strategy: {ORACLE} is a bound to compare with; name a strategy, too")
    return _known("--strategy", asked, known), ()


def _known(option: str, asked: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for name in asked:
        if name not in known:
            raise UsageError(f"{option}: there is no {name!r}; choose from {', '.join(known)}")
    if not asked:
        raise UsageError(f"{option}: name at least one of {', '.join(known)}")
    return asked


def _positive(data: Dataset, asked: str | None) -> int:
    if asked is None:
        return len(data.classes) - 1
    name = label_of(asked)
    if name not in data.classes:
        raise UsageError(f"--positive: no label is {asked!r}; the labels are {', '.join(data.classes)}")
    return data.classes.index(name)


def _json(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    return list(value) if isinstance(value, tuple) else value
