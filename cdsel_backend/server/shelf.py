"""What the commands work with: the settings of the server, and the state that these name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend.settings import ServerSettings, read_server_settings
from cdsel_backend.store import Store
from cdsel_backend.store.faults import not_opened


@dataclass(frozen=True)
class Shelf:
    """The settings of the server, which say where the files are, and what is known of them."""

    server: ServerSettings
    store: Store


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


def open_shelf(context: click.Context) -> Shelf:
    """The settings and the state that the environment names; the state is closed when the command ends.

    Raises:
        click.ClickException: a variable has no usable value, or the database does not open; the message names it.
    """
    server = read_settings()
    with opening(server):
        store = Store.open(server)
    context.call_on_close(store.close)
    return Shelf(server, store)
