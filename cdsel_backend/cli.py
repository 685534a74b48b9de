"""The command line: `cdsel serve`, `demo`, `simulate`, `models`, `strategies`."""

from __future__ import annotations

import click

from cdsel_backend import __version__
from cdsel_backend.demo.command import demo
from cdsel_backend.server.command import serve
from cdsel_backend.server.models_command import models
from cdsel_backend.simulate.command import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="cdsel")
def main() -> None:
    """Spend a labelling budget on images that teach the disease, not the confounder."""


@click.command()
def strategies() -> None:
    """List the ways of choosing images, for the setting `strategy` and `cdsel simulate --strategy`."""
    from cdsel_backend.selection import strategies as names

    for name in names():
        click.echo(name)


for command in (serve, demo, simulate, models, strategies):
    main.add_command(command)

if __name__ == "__main__":
    main()
