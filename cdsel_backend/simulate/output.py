"""What a backtest leaves: results.csv, groups.csv, summary.json, report.html, and the last words on the console."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cdsel_backend import __version__
from cdsel_backend.simulate.cells import cell_counts
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.outcome import GroupResult, Outcome, Result
from cdsel_backend.simulate.plan import DEFAULT, ORACLE, Plan
from cdsel_backend.simulate.report import Setting, render
from cdsel_backend.simulate.saving import Saving, labels_saved
from cdsel_backend.simulate.section import label, place_of, shown, spent
from cdsel_backend.simulate.summary import FAIR, WORST, Findings
from cdsel_backend.simulate.worlds import make_world
from cdsel_backend.whole_file import whole_file

_NO_OPTIONS = frozenset({"items", "notes", "left_out"})  # of the settings in summary.json


def write(
    console: Console,
    out: Path,
    data: Dataset,
    sets: dict[str, Dataset],
    plan: Plan,
    outcome: Outcome,
    settings: dict[str, Any],
) -> None:
    """Write results.csv, groups.csv, summary.json and report.html into `out`, and say the result on the console."""
    order = {name: i for i, name in enumerate((*plan.strategies, *plan.trainings))}

    def sort_key(r: Result | GroupResult) -> tuple[object, ...]:
        return order[r.strategy], order.get(r.training, 99), r.training, r.correlation, r.budget, r.seed

    results, groups = sorted(outcome.results, key=sort_key), sorted(outcome.groups, key=sort_key)
    findings = Findings(results, plan.correlations, plan.budgets, plan.seeds, plan.first_seed)
    saving = labels_saved(findings)
    each = {c: labels_saved(findings, c) for c in plan.correlations}
    run = _run_facts(data, sets, plan)
    summary = {
        "run": run,
        "settings": settings,
        "dataset": data.name,
        "classes": list(data.classes),
        "levels": {c: list(dataset.columns[0].levels) for c, dataset in sets.items()},
        "saving": saving.to_json() if saving else None,
        "saving_by_correlation": {c: saved.to_json() for c, saved in each.items() if saved is not None},
        "tables": [
            {"strategy": s, "training": t, "correlation": c, "budget": b, "counts": table.tolist()}
            for (s, t, c, b), table in sorted(outcome.tables.items())
        ],
        **findings.to_json(),
    }
    files = {
        "results.csv": _csv(Result, results),
        "groups.csv": _csv(GroupResult, groups),
        "summary.json": json.dumps(summary, indent=1, allow_nan=False),
        "report.html": render(findings, saving, outcome, _setting(data, sets, plan, settings, run)),
    }
    with ExitStack() as together:  # all are written before the first takes its place
        for name, text in files.items():
            together.enter_context(whole_file(out / name)).write_bytes(text.encode())
    _print(console, findings, saving, out)


def _setting(
    data: Dataset, sets: dict[str, Dataset], plan: Plan, settings: dict[str, Any], run: dict[str, str]
) -> Setting:
    """What the report says of the data and of how it was run."""
    options = {
        f"--{key.replace('_', '-')}": value for key, value in settings.items() if key not in _NO_OPTIONS
    }
    return Setting(
        dataset=data.name,
        label=settings["label"],
        classes=[f"{settings['label']} {name}" for name in data.classes],
        positive=f"{settings['label']} {data.classes[plan.positive]}",
        levels={c: dataset.columns[0].levels for c, dataset in sets.items()},
        pools={c: _pool_counts(dataset, c, plan) for c, dataset in sets.items()},
        run=run | {name: _listed(value) for name, value in options.items() if value not in (None, [], ())},
        notes=settings["notes"],
    )


def _pool_counts(dataset: Dataset, correlation: str, plan: Plan) -> NDArray[np.int64]:
    """Return (classes, levels): how many images of each the pools hold, all seeds together."""
    counts = np.zeros((len(dataset.classes), len(dataset.columns[0].levels)), dtype=np.int64)
    for seed in plan.seed_numbers:
        counts += cell_counts(dataset.take(make_world(dataset, correlation, seed, plan.positive).pool))
    return counts


def _csv(kind: type[Result] | type[GroupResult], rows: Sequence[Result | GroupResult]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([field.name for field in fields(kind)])
    writer.writerows(tuple(asdict(row).values()) for row in rows)
    return out.getvalue()


def _run_facts(data: Dataset, sets: dict[str, Dataset], plan: Plan) -> dict[str, str]:
    """What a reader needs to repeat the run: versions, date and sizes, by the names that the report gives them."""
    facts = {
        "version": f"cdsel-backend {__version__}",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "libraries": ", ".join(
            f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "scikit-learn", "torch", "timm")
        ),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "images": f"{len(data):,} with a label and a vector of {data.vectors.shape[1]} numbers",
        "patients or lesions": f"{len(np.unique(data.groups)):,}",
        "labels": ", ".join(
            f"{name}: {count:,}" for name, count in zip(data.classes, np.bincount(data.labels), strict=True)
        ),
    }
    for correlation, dataset in sets.items():
        worlds = [make_world(dataset, correlation, seed, plan.positive) for seed in plan.seed_numbers]
        levels = ", ".join(
            f"{column.name}: {', '.join(column.levels)}"
            for column in dataset.columns
            if len(column.levels) <= 12
        )
        facts[f"sizes, {place_of(correlation)}"] = (
            f"pool {_span([len(world.pool) for world in worlds])}, test {_span([len(world.test) for world in worlds])}"
            + (f" ({levels})" if levels else "")
        )
    return facts


def _span(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print(console: Console, findings: Findings, saving: Saving | None, out: Path) -> None:
    for metric in (WORST, FAIR):
        table = Table(title=f"{metric.replace('_', ' ')} ({spent(findings)})", title_justify="left")
        table.add_column("pipeline", overflow="fold")
        for correlation in findings.correlations:
            table.add_column(correlation, justify="right")
        for pipeline in sorted(shown(findings), key=lambda p: -findings.overall(p, metric).mean):
            marks = [findings.overall(pipeline, metric, c).mean for c in findings.correlations]
            style = "bold" if pipeline == DEFAULT else "dim" if pipeline[0] == ORACLE else None
            table.add_row(label(pipeline), *(f"{mark:.3f}" for mark in marks), style=style)
        console.print(table)
    console.print(f"Report: {out / 'report.html'}", markup=False, soft_wrap=True)
    console.print(
        saving.sentence
        if saving
        else f"To see the labels saved, run {' + '.join(DEFAULT)} and random + plain with two seeds and two budgets "
        "or more.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
