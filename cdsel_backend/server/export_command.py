"""`cdsel export`: the labelled set of a project as a file."""

from __future__ import annotations

from pathlib import Path

import click

from cdsel_backend.phrases import form, number_of
from cdsel_backend.server.installation import open_installation
from cdsel_backend.server.models_command import out_option, project_option, refuse_sources
from cdsel_backend.whole_file import not_written, write_whole, wrong_ending

FORMATS = ("label-studio", "csv", "coco")


@click.command()
@out_option("Where it goes, such as labels.csv or labels.json.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="None: csv for a file that ends in .csv, else label-studio: JSON that it imports. coco is for regions.",
)
@project_option
@click.pass_context
def export(context: click.Context, file: Path, kind: str | None, project: int | None) -> None:
    """Write every labelled image with its label, split, group, round, rank, reason, weight and model version.

    Regions are read from Label Studio, so label-studio and coco need it running where annotators draw.
    """
    from cdsel_backend.export.label_files import coco, label_studio_json, labels_csv
    from cdsel_backend.export.labelled_set import labelled_set
    from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError
    from cdsel_backend.labelstudio.labels import space_of
    from cdsel_backend.labelstudio.tasks import unreadable_message
    from cdsel_backend.training import ModelFormatError

    or_table = "" if kind else f", or {file.with_suffix('.csv')} for a table"
    kind = kind or ("csv" if file.suffix.lower() == ".csv" else "label-studio")
    table = kind == "csv"
    ending, holds = (".csv", "CSV") if table else (".json", "JSON")
    if wrong := wrong_ending(file, ending, holds):
        raise click.BadParameter(f"{wrong}{or_table}", param_hint="--out")
    installation = open_installation(context)
    left_out = 0
    unreadable: dict[int, set[int]] = {}
    try:
        state = installation.state(project)
        refuse_sources(state, file)
        space = space_of(state)
        if kind == "coco" and not space.regions:
            raise click.ClickException(
                f"--format coco is for regions, and {space.control!r} asks for {space.kind.asks}: take csv or "
                "label-studio"
            )
        studio = None
        if space.regions and not table:
            studio = LabelStudio(
                installation.server.label_studio_url, installation.server.label_studio_api_key
            )
        images = labelled_set(installation.server, state, studio, unreadable)
        if table:
            text = labels_csv(images, space.classes, several=space.kind.several)
        elif kind == "coco":
            text, left_out = coco(images, space)
        else:
            text = label_studio_json(images, space)
        write_whole(file, text.encode())
    except (LabelStudioError, ModelFormatError, ValueError) as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        raise click.ClickException(not_written(file, fault)) from None
    click.echo(f"{number_of(len(images), 'labelled image')} in {file}")
    for queue, tasks in unreadable.items():
        click.echo(f"left out: {unreadable_message(queue, tasks)}", err=True)
    if left_out:
        click.echo(
            f"{number_of(left_out, 'region')} (brushes, key points) {form(left_out, 'is', 'are')} left out: COCO holds "
            "outlines only",
            err=True,
        )
