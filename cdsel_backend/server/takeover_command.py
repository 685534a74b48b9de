"""`cdsel takeover`: go on with a project that another backend, or another data folder, worked for."""

from __future__ import annotations

import click

from cdsel_backend.server.installation import open_installation
from cdsel_backend.store.activity import Request


@click.command()
@click.argument("project", type=int)
@click.pass_context
def takeover(context: click.Context, project: int) -> None:
    """Go on with a project that another backend, or a data folder that is lost, worked for.

    PROJECT is the pool project in Label Studio. Stop the other backend first. The images that are open in the queue
    are taken back into the books before anything is selected; the other backend, if it runs still, stands aside at its
    next look.
    """
    installation = open_installation(context)
    found = installation.state(project).project
    installation.store.add_request(found.id, Request.TAKE_OVER, who="cdsel takeover")
    click.echo(f"Project {found.pool_project} is taken over at the worker's next look.")
