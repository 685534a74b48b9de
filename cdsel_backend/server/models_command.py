"""`cdsel models`: list, show, promote and roll back model versions."""

from __future__ import annotations

import json
from typing import Any

import click
from sqlalchemy import Row

from cdsel_backend.server import champion
from cdsel_backend.settings import read_server_settings
from cdsel_backend.store import State, Store


@click.group()
@click.pass_context
def models(context: click.Context) -> None:
    """Look at the model versions, and choose which one serves."""
    try:
        server = read_server_settings()
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None
    context.obj = Store(server.database_url)
    context.call_on_close(context.obj.close)


project_option = click.option(
    "--project", type=int, help="The pool project in Label Studio; needed when several are connected."
)


@models.command("list")
@project_option
@click.pass_obj
def list_(store: Store, project: int | None) -> None:
    """List the versions, oldest first; * marks the champion."""
    state = _state(store, project)
    for row in _versions(state):
        mark = "*" if row.version == state.project.champion else " "
        shown = "  ".join(
            f"{name.replace('_', ' ')} {row.metrics[name]:.3f}"
            for name in ("balanced_accuracy", "worst_group_accuracy")
            if row.metrics.get(name) is not None
        )
        click.echo(
            f"{mark} {row.version}  {len(row.labels)} labels  {shown or 'too few held-out labels'}  {row.outcome}"
        )


@models.command()
@click.argument("version")
@project_option
@click.pass_obj
def show(store: Store, version: str, project: int | None) -> None:
    """Show all that is kept of one version, as JSON."""
    row = _version(_state(store, project), version)
    kept = {key: value for key, value in row._mapping.items() if key not in ("project", "labels")}
    click.echo(json.dumps({**kept, "labels": len(row.labels)}, indent=2))


@models.command()
@click.argument("version")
@project_option
@click.pass_obj
def promote(store: Store, version: str, project: int | None) -> None:
    """Make a version the champion, whatever its metrics."""
    state = _state(store, project)
    try:
        champion.promote(store, state, version, who="command line")
    except champion.NoSuchVersion as fault:
        raise click.BadParameter(str(fault), param_hint="VERSION") from None
    click.echo(f"{version} serves now; before it {state.project.champion or 'none'} did.")


@models.command()
@project_option
@click.pass_obj
def rollback(store: Store, project: int | None) -> None:
    """Make the version before the champion the champion again."""
    state = _state(store, project)
    try:
        serves = champion.rollback(store, state, who="command line")
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


def _versions(state: State) -> list[Row[Any]]:
    return [row for row in state.trainings if row.version]


def _version(state: State, version: str) -> Row[Any]:
    for row in _versions(state):
        if row.version == version:
            return row
    known = ", ".join(row.version for row in _versions(state)) or "none"
    raise click.BadParameter(f"there is no version {version!r}; there are {known}", param_hint="VERSION")
