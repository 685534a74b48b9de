"""The installation that a command works with: the settings of the server, and the store that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend.settings import ServerSettings, read_server_settings
from cdsel_backend.store import State, Store
from cdsel_backend.store.faults import not_opened


@dataclass(frozen=True)
class Installation:
    """The settings of the server, which say where its files are, and the opened store."""

    server: ServerSettings
    store: Store

    def state(self, number: int | None) -> State:
        """The project that has a number in Label Studio, or a queue of that number; None: the only one connected.

        Books that know several Label Studios may have one of that number in each: that of LABEL_STUDIO_URL comes first.

        Raises:
            click.UsageError: there is none, or it must be named; the message has those that are connected.
        """
        known = self.store.projects()
        rows = known if number is None else self.store.projects_of(number)
        here = [row for row in rows if row.studio_url == self.server.label_studio_url]
        rows = here or rows
        if len(rows) == 1 or (here and number is not None):
            return State(self.store, rows[0].id)
        connect = "connect this backend in Label Studio under Settings > Model"
        if not known:
            raise click.UsageError(
                "no project is connected to the database of this environment: set CDSEL_DATA_DIR or CDSEL_DATABASE_URL "
                f"to that of `cdsel serve`, or {connect}"
            )
        if number is None:
            problem = "name one project with --project"
        elif rows:
            problem = f"several Label Studios have a project {number}: set LABEL_STUDIO_URL"
        else:
            problem = f"project {number} is not connected: {connect}"
        connected = ", ".join(str(row.pool_project) for row in known)
        raise click.UsageError(f"{problem}; connected to the database of this environment: {connected}")


def read_settings() -> ServerSettings:
    """The server's settings from the environment.

    Raises:
        click.ClickException: a variable has no usable value; the message names it.
    """
    try:
        return read_server_settings()
    except ValueError as fault:
        raise click.ClickException(str(fault)) from None


@contextmanager
def opening(server: ServerSettings) -> Iterator[None]:
    """For what opens the data folder and the database.

    Raises:
        click.ClickException: one of them does not open; the message names its variable.
    """
    try:
        yield
    except (OSError, SQLAlchemyError) as fault:
        raise click.ClickException(not_opened(fault, server.data_dir, server.database_url)) from None


def open_installation(context: click.Context) -> Installation:
    """The installation that the environment names; its store is closed when the command ends.

    Raises:
        click.ClickException: a variable has no usable value, or the database does not open; the message names it.
    """
    server = read_settings()
    with opening(server):
        store = Store.open(server)
    context.call_on_close(store.close)
    return Installation(server, store)
