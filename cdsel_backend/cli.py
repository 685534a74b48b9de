"""The command line: `cdsel serve`, `demo`, `simulate`, `models`."""

from __future__ import annotations

import click

from cdsel_backend import __version__
from cdsel_backend.demo.command import demo
from cdsel_backend.server.command import serve
from cdsel_backend.simulate.command import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="cdsel")
def main() -> None:
    """Spend a labelling budget on images that teach the disease, not the confounder."""


for command in (serve, demo, simulate):
    main.add_command(command)

if __name__ == "__main__":
    main()
