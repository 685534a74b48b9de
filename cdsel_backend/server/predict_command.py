"""`cdsel predict`: what a model version says of images that need not be in any project."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cdsel_backend.phrases import number_of
from cdsel_backend.pool.source import PoolSource, SourceError, SourceItem
from cdsel_backend.server.installation import Installation, open_installation
from cdsel_backend.server.models_command import found_version, project_option, refuse_sources
from cdsel_backend.table import BYTE_ORDER_MARK, csv_cell
from cdsel_backend.whole_file import not_written, whole_file, wrong_ending

BATCH = 64  # images in memory at once, as decoded ones


@click.command()
@click.argument("version")
@click.argument("source", metavar="FOLDER")
@click.option(
    "--csv",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the answers go.",
)
@project_option
@click.pass_context
def predict(context: click.Context, version: str, source: str, file: Path, project: int | None) -> None:
    """Write what a model version says of every image of FOLDER, as a CSV file with a row for each image.

    VERSION may be `champion` or `candidate`. FOLDER may also be a table or a prefix, as for `cdsel pool add`: the
    columns of a table are the metadata by which the model corrects; without them nothing is corrected but by what the
    file says of itself. An image that cannot be used has its reason in the column `problem`.
    """
    from cdsel_backend.export.version import UnusableVersion, open_version
    from cdsel_backend.project.source import secret
    from cdsel_backend.sources import open_source
    from cdsel_backend.training import ModelFormatError

    if wrong := wrong_ending(file, ".csv", "CSV"):
        raise click.BadParameter(wrong, param_hint="--csv")
    installation = open_installation(context)
    state = installation.state(project)
    name = found_version(state, version)
    refuse_sources(state, file, source)
    try:
        opened = open_source(source, key=secret(installation.server.data_dir))
        listing = opened.list()
        whole = open_version(installation.server, state, name, device=installation.server.device)
    except (SourceError, UnusableVersion, ModelFormatError) as fault:
        raise click.ClickException(str(fault)) from None
    done = problems = 0
    variables = [variable.name for variable in whole.model.variables]
    columns = [
        "image",
        "label",
        *(f"probability of {name}" for name in whole.model.classes),
        *(f"level of {name}" for name in variables),
        "problem",
    ]
    try:
        with whole_file(file) as draft, draft.open("w", newline="", encoding="utf-8") as out:
            out.write(BYTE_ORDER_MARK)
            writer = csv.DictWriter(out, columns, restval="")
            writer.writerow({name: csv_cell(name) for name in columns})
            for rows in _answers(installation, whole, opened, listing.items if listing else iter(())):
                writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
                done += len(rows)
                problems += sum("problem" in row for row in rows)
                click.echo(number_of(done, "image"), err=True)
    except SourceError as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        raise click.ClickException(not_written(file, fault)) from None
    click.echo(f"{name}: {number_of(done, 'image')} in {file}, {problems:,} of them cannot be used.")


def _answers(
    installation: Installation, whole: Any, opened: PoolSource, items: Iterator[SourceItem]
) -> Iterator[list[dict[str, object]]]:
    """The rows of the images, some at a time."""
    from itertools import islice

    from cdsel_backend.labels import KINDS
    from cdsel_backend.pool.decode import UnreadableImage, read_image
    from cdsel_backend.pool.measures import measure
    from cdsel_backend.training import answers_for

    kind = next(kind for kind in KINDS if answers_for(whole.model, kind))
    while part := list(islice(items, BATCH)):
        rows: list[dict[str, object]] = []
        pictures, metadata, usable = [], [], []
        for item in part:
            row: dict[str, object] = {"image": item.key}
            rows.append(row)
            try:
                if item.problem is not None:
                    raise UnreadableImage(item.problem)
                decoded = read_image(opened.read(item), max_pixels=installation.server.max_image_pixels)
                metadata.append({**opened.describe(item), **item.data, **measure(decoded)})
            except UnreadableImage as fault:
                row["problem"] = str(fault)
                continue
            pictures.append(decoded.image)
            usable.append(row)
        if pictures:
            probabilities = whole.predict(pictures, metadata)
            levels = [variable.encode(metadata).names for variable in whole.model.variables]
            for number, (row, own) in enumerate(zip(usable, probabilities.tolist(), strict=True)):
                label, _ = kind.prediction(own, whole.model.classes)
                row["label"] = kind.display(label)
                row |= {f"probability of {name}": p for name, p in zip(whole.model.classes, own, strict=True)}
                row |= {
                    f"level of {variable.name}": str(of[number])
                    for variable, of in zip(whole.model.variables, levels, strict=True)
                }
        yield rows
