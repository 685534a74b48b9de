"""`cdsel simulate --backbone a,b`: several networks compared on labelled images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cdsel_backend.simulate.backbones import rate
from cdsel_backend.simulate.reading import read
from cdsel_backend.table import Row, UsageError
from cdsel_backend.whole_file import write_whole


def compare(console: Console, given: Mapping[str, Any], rows: list[Row], progress: Progress) -> None:
    """Say of each backbone how well it ranks the label, and what it betrays of the confounders."""
    if given["embeddings"]:
        raise UsageError("--embeddings: several backbones are compared on the images; leave it out")
    table = Table("backbone", "vector", "items", "ranks the label")
    found = {name: rate(read(given, rows, progress, name)) for name in given["backbone"]}
    for confounder in dict.fromkeys(variable for rating in found.values() for variable in rating.encodes):
        table.add_column(f"encodes {confounder}")

    def shown_as(value: float | None) -> str:
        return "too few" if value is None else f"{value:.3f}"

    for name, rating in found.items():
        table.add_row(
            name,
            str(rating.width),
            str(rating.items),
            shown_as(rating.ranks),
            *(shown_as(rating.encodes.get(str(column.header)[8:])) for column in table.columns[4:]),
        )
    console.print(table)
    console.print(
        "AUROC, .5 is chance. Ranks the label: inside the confounder's levels, on patients that the head was not "
        "trained on; more is better. Encodes: how well the vectors tell a confounder's levels among images of one "
        "label."
    )
    out: Path = given["out"]
    out.mkdir(parents=True, exist_ok=True)
    document = {name: asdict(rating) for name, rating in found.items()}
    write_whole(out / "backbones.json", json.dumps(document, indent=1).encode())
