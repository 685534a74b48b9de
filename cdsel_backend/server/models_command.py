"""`cdsel models`: list, show, promote, roll back and export model versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cdsel_backend.phrases import number_of
from cdsel_backend.project import champion
from cdsel_backend.project.sentences.models import outcome
from cdsel_backend.project.serving import model_folder
from cdsel_backend.project.versions import CANDIDATE, CHAMPION, aliases
from cdsel_backend.server.installation import Installation, open_installation
from cdsel_backend.store import State
from cdsel_backend.training.model_files import ModelFormatError, load_meta
from cdsel_backend.whole_file import not_written, whole_file, wrong_ending


@click.group()
@click.pass_context
def models(context: click.Context) -> None:
    """Look at the model versions, choose which one serves, and export it as a file."""
    context.obj = open_installation(context)


project_option = click.option(
    "--project", type=int, help="The pool project in Label Studio; needed when several are connected."
)


def out_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option that names the file a command writes."""
    return click.option(
        "-o", "--out", "file", type=click.Path(path_type=Path, dir_okay=False), required=True, help=text
    )


@models.command("list")
@project_option
@click.pass_obj
def list_(installation: Installation, project: int | None) -> None:
    """List the versions, oldest first; * marks the champion, + the candidate: newer, and kept out."""
    state = installation.state(project)
    named = aliases(state)
    if not state.versions:
        click.echo("There is no version yet: the first training makes one.", err=True)
    marks = {named.get(CHAMPION): "*", named.get(CANDIDATE): "+"}
    for row in state.versions.values():
        mark = marks.get(row.version, " ")
        shown = "  ".join(
            f"{name.replace('_', ' ')} {row.metrics[name]:.3f}"
            for name in ("balanced_accuracy", "worst_group_accuracy")
            if row.metrics.get(name) is not None
        )
        click.echo(
            f"{mark} {row.version}  {number_of(row.label_count, 'label')}  {shown or 'too few held-out labels'}  "
            f"{outcome(row.outcome)}"
        )


@models.command()
@click.argument("version")
@project_option
@click.pass_obj
def show(installation: Installation, version: str, project: int | None) -> None:
    """Show all that is kept of one version, as JSON. VERSION may be `champion` or `candidate`."""
    state = installation.state(project)
    name = found_version(state, version)
    row = state.versions[name]
    shown = asdict(row)
    shown["labels"] = shown.pop("label_count")
    shown["outcome"] = outcome(row.outcome)
    shown["aliases"] = [alias for alias, of in aliases(state).items() if of == name]
    try:
        shown["made_from"] = load_meta(model_folder(installation.server, state.project.id) / name)
        shown["made_from"].pop("metrics", None)  # they are in the row already
    except ModelFormatError as fault:
        shown["made_from"] = str(fault)
    click.echo(json.dumps(shown, indent=2))


@models.command()
@click.argument("version")
@project_option
@click.pass_obj
def promote(installation: Installation, version: str, project: int | None) -> None:
    """Make a version the champion, whatever its metrics. VERSION may be `candidate`."""
    state = installation.state(project)
    try:
        serves = champion.promote(state, version, who="command line")
    except champion.NoSuchVersion as fault:
        raise click.BadParameter(str(fault), param_hint="VERSION") from None
    if serves == state.project.champion:
        click.echo(f"{serves} serves already: nothing was changed.")
    else:
        click.echo(f"{serves} serves now; before it {state.project.champion or 'none'} did.")


@models.command()
@project_option
@click.pass_obj
def rollback(installation: Installation, project: int | None) -> None:
    """Make the version before the champion the champion again."""
    state = installation.state(project)
    try:
        serves = champion.rollback(state, who="command line")
    except champion.NoSuchVersion as fault:
        raise click.ClickException(str(fault)) from None
    click.echo(f"{serves} serves again; {state.project.champion} is kept.")


@models.command()
@click.argument("version")
@out_option("Where the model goes, such as model.onnx; its card goes beside it, as model.md.")
@project_option
@click.pass_obj
def export(installation: Installation, version: str, file: Path, project: int | None) -> None:
    """Write a version as one ONNX file that takes pictures, with a model card beside it.

    VERSION may be `champion` or `candidate`. The file holds the network, all that is done to a decoded picture before
    and after it, the names of the classes and the card; nothing of this package is needed to run it.
    """
    # Here, not above: the other commands have no need of torch.
    from cdsel_backend.export.card import model_card
    from cdsel_backend.export.onnx_file import write_onnx
    from cdsel_backend.export.version import UnusableVersion, open_version

    if wrong := wrong_ending(file, ".onnx", "ONNX"):
        raise click.BadParameter(wrong, param_hint="--out")
    card_file = file.with_suffix(".md")
    state = installation.state(project)
    try:
        whole = open_version(installation.server, state, found_version(state, version))
        card = model_card(whole, state)
        with whole_file(card_file) as draft:  # which takes its place after the model
            draft.write_text(card, encoding="utf-8")
            write_onnx(whole, file, card=card)
    except (UnusableVersion, ModelFormatError) as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        raise click.ClickException(not_written(file, fault)) from None
    click.echo(f"{whole.name}: {file} ({number_of(file.stat().st_size, 'byte')}), card in {card_file}")


def refuse_sources(state: State, file: Path, *others: str) -> None:
    """See that a file to write is none that images are listed by: a source of the project, or one of `others`.

    Raises:
        click.BadParameter: it is one.
    """
    for address in (*others, *(source.address for source in state.store.sources(state.project.id))):
        table = Path(address.removeprefix("file://"))
        if file.exists() and table.exists() and file.samefile(table):
            raise click.BadParameter(
                f"{file} is the table that images are listed by, and would be overwritten: name another file"
            )


def found_version(state: State, name: str) -> str:
    """The version of this name or alias.

    Raises:
        click.BadParameter: there is none; the message has those there are.
    """
    try:
        return champion.version_named(state, name)
    except champion.NoSuchVersion as fault:
        raise click.BadParameter(str(fault), param_hint="VERSION") from None
