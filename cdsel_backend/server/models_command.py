"""`cdsel models`: list, show, promote and roll back model versions."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from cdsel_backend.project import champion
from cdsel_backend.project.serving import model_folder
from cdsel_backend.project.versions import CANDIDATE, CHAMPION, aliases
from cdsel_backend.project.wording import outcome
from cdsel_backend.server.shelf import Shelf, open_shelf
from cdsel_backend.store import State, Store
from cdsel_backend.training.model_files import ModelFormatError, load_meta


@click.group()
@click.pass_context
def models(context: click.Context) -> None:
    """Look at the model versions, and choose which one serves."""
    context.obj = open_shelf(context)


project_option = click.option(
    "--project", type=int, help="The pool project in Label Studio; needed when several are connected."
)


@models.command("list")
@project_option
@click.pass_obj
def list_(shelf: Shelf, project: int | None) -> None:
    """List the versions, oldest first; * marks the champion, + the candidate: newer, and kept out."""
    state = _state(shelf.store, project)
    named = aliases(state)
    marks = {named.get(CHAMPION): "*", named.get(CANDIDATE): "+"}
    for row in state.versions.values():
        mark = marks.get(row.version, " ")
        shown = "  ".join(
            f"{name.replace('_', ' ')} {row.metrics[name]:.3f}"
            for name in ("balanced_accuracy", "worst_group_accuracy")
            if row.metrics.get(name) is not None
        )
        click.echo(
            f"{mark} {row.version}  {len(row.labels)} labels  {shown or 'too few held-out labels'}  "
            f"{outcome(row.outcome)}"
        )


@models.command()
@click.argument("version")
@project_option
@click.pass_obj
def show(shelf: Shelf, version: str, project: int | None) -> None:
    """Show all that is kept of one version, as JSON. VERSION may be `champion` or `candidate`."""
    state = _state(shelf.store, project)
    name = _found(state, version)
    row = state.versions[name]
    told = asdict(row)
    told["labels"] = len(row.labels)
    told["outcome"] = outcome(row.outcome)
    told["aliases"] = [alias for alias, of in aliases(state).items() if of == name]
    try:
        told["made_from"] = load_meta(model_folder(shelf.server, state.project.id) / name)
        told["made_from"].pop("metrics", None)  # they are in the row already
    except ModelFormatError as fault:
        told["made_from"] = str(fault)
    click.echo(json.dumps(told, indent=2))


@models.command()
@click.argument("version")
@project_option
@click.pass_obj
def promote(shelf: Shelf, version: str, project: int | None) -> None:
    """Make a version the champion, whatever its metrics. VERSION may be `candidate`."""
    state = _state(shelf.store, project)
    try:
        serves = champion.promote(shelf.store, state, version, who="command line")
    except champion.NoSuchVersion as fault:
        raise click.BadParameter(str(fault), param_hint="VERSION") from None
    click.echo(f"{serves} serves now; before it {state.project.champion or 'none'} did.")


@models.command()
@project_option
@click.pass_obj
def rollback(shelf: Shelf, project: int | None) -> None:
    """Make the version before the champion the champion again."""
    state = _state(shelf.store, project)
    try:
        serves = champion.rollback(shelf.store, state, who="command line")
    except champion.NoSuchVersion as fault:
        raise click.ClickException(str(fault)) from None
    click.echo(f"{serves} serves again; {state.project.champion} is kept.")


def _state(store: Store, pool_project: int | None) -> State:
    projects = store.projects()
    if pool_project is not None:
        projects = [row for row in projects if row.pool_project == pool_project]
    if len(projects) != 1:
        connected = ", ".join(str(row.pool_project) for row in store.projects()) or "none"
        raise click.UsageError(f"name one project with --project; connected: {connected}")
    return State(store, projects[0].id)


def _found(state: State, name: str) -> str:
    try:
        return champion.version_named(state, name)
    except champion.NoSuchVersion as fault:
        raise click.BadParameter(str(fault), param_hint="VERSION") from None
