"""`cdsel backup` and `cdsel restore`: the data folder as one archive."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import click
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cdsel_backend.phrases import number_of
from cdsel_backend.server.installation import read_settings
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store, archive
from cdsel_backend.store.pulses import BEAT_SECONDS
from cdsel_backend.whole_file import not_written

PATIENCE = 2 * BEAT_SECONDS
LOOK_SECONDS = 0.5
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=FILE)
def backup(file: Path) -> None:
    """Write the data folder into one archive with checksums, while the backend runs.

    FILE holds the database, the vectors and the models. Label Studio's own data are not in it: back them up, too.
    """
    server = read_settings()
    if not server.data_dir.is_dir():
        raise click.ClickException(
            f"CDSEL_DATA_DIR: {server.data_dir} is no folder: there is nothing to back up"
        )
    database = _sqlite_file(server)
    try:
        made = archive.back_up(server.data_dir, database, file)
    except archive.ArchiveError as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        if fault.filename and Path(fault.filename).parent != file.parent:  # none of the archive's own drafts
            raise click.ClickException(
                f"no archive was made: {fault.filename} cannot be read ({fault.strerror}): let this account read the "
                "data folder, as that of `cdsel serve` does"
            ) from None
        raise click.ClickException(f"no archive was made: {not_written(file, fault)}") from None
    except sqlite3.Error as fault:
        raise click.ClickException(
            f"no archive was made: the database {database} cannot be copied ({fault}): see that there is room beside "
            f"{file}, and run the same command again"
        ) from None
    click.echo(
        f"{file}: {number_of(len(made.files), 'file')}, {made.bytes / 1e6:.1f} MB, cdsel {made.version}"
    )
    if database is None:
        click.echo(
            f"The database {make_url(server.database_url).render_as_string(hide_password=True)} is not in it: back it "
            "up by `pg_dump -Fc`, just before `cdsel backup`, so that the archive holds all that the dump speaks of.",
            err=True,
        )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--replace", is_flag=True, help="Put a data folder that is not empty aside instead of refusing."
)
def restore(file: Path, replace: bool) -> None:
    """Make the data folder what an archive of `cdsel backup` holds.

    Stop `cdsel serve` first. What was pushed or labelled since is in Label Studio: the backend takes it back when it
    starts, before it selects.
    """
    server = read_settings()
    if replace:
        _refuse_while_it_runs(server)
    try:
        found, aside = archive.restore(file, server.data_dir, replace=replace)
    except archive.ArchiveError as fault:
        raise click.ClickException(str(fault)) from None
    except OSError as fault:
        raise click.ClickException(
            f"nothing was restored: {server.data_dir} cannot be written ({fault.strerror or fault}): see that this "
            "account may write beside it and that there is room, or set CDSEL_DATA_DIR to another folder"
        ) from None
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(found.made_at))
    click.echo(
        f"{server.data_dir} is what it was on {made} (cdsel {found.version}): {number_of(len(found.files), 'file')}."
    )
    if aside is not None:
        click.echo(f"What was there lies in {aside}.")
    if _sqlite_file(server) is None:
        click.echo(
            "The database is not in it: restore it by `pg_restore` from the dump made with it.", err=True
        )


def _sqlite_file(server: ServerSettings) -> Path | None:
    """The database's file in the data folder; None where it is none.

    Raises:
        click.ClickException: the database is a file elsewhere.
    """
    try:
        url = make_url(server.database_url)
    except ArgumentError as fault:
        raise click.ClickException(f"CDSEL_DATABASE_URL: {fault}") from None
    if url.get_backend_name() != "sqlite":
        return None
    file = Path(url.database or "")
    if file.resolve().parent != server.data_dir.resolve():
        raise click.ClickException(
            f"CDSEL_DATABASE_URL: {file} lies outside the data folder {server.data_dir}: move it there, or back both "
            "up while `cdsel serve` is stopped"
        )
    return file


def _refuse_while_it_runs(server: ServerSettings) -> None:
    """See that no worker uses the data folder that is to be put aside."""
    file = _sqlite_file(server)
    if file is None or not file.exists():
        return
    try:
        with closing(Store.open(server)) as store:
            works = any(not pulse.dead for pulse in store.pulses()) and _beats(store)
    except SQLAlchemyError:
        return  # a database that does not open is why somebody restores
    if works:
        raise click.ClickException(
            "a worker uses this data folder now: stop `cdsel serve` and `cdsel worker` first, then restore"
        )


def _beats(store: Store) -> bool:
    """Whether a worker lives.

    One that died a moment ago looks alive, and, where the clock was set back since, until it is as late again.
    """
    click.echo(f"A worker was killed lately, or lives: looking for {PATIENCE:.0f} s which it is.", err=True)
    before, until = store.beats(), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        if any(before.get(worker) != beat for worker, beat in store.beats().items()):
            return True
    return False
