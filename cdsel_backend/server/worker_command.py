"""`cdsel worker`: a worker alone, beside `cdsel serve` or others of its kind, on this machine or another."""

from __future__ import annotations

import click

from cdsel_backend.server.command import check_settings, open_once, run_parts, start_worker


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Log every request and step.")
def worker(verbose: bool) -> None:
    """Run one more worker for the projects of a database, without a web server.

    Takes the settings of `cdsel serve` from the environment: CDSEL_DATABASE_URL names the PostgreSQL database that
    both work on, CDSEL_DATA_DIR the folder that both see. Any number of workers may run: each project is one worker's
    at a time, and one that dies is replaced after half a minute.
    """
    server = check_settings(verbose)
    open_once(server)
    click.echo("cdsel works on the projects of its database; Ctrl-C ends it.")
    run_parts({"worker": lambda: start_worker(server, verbose)})
