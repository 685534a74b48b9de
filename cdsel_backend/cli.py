"""The command line: `cdsel serve`, `demo`, `doctor`, `simulate`, `models`, `settings`, `strategies`."""

from __future__ import annotations

from importlib import import_module

import click

from cdsel_backend import __version__

COMMANDS = {
    "demo": "cdsel_backend.demo.command:demo",
    "doctor": "cdsel_backend.server.doctor_command:doctor",
    "models": "cdsel_backend.server.models_command:models",
    "serve": "cdsel_backend.server.command:serve",
    "settings": "cdsel_backend.cli:settings",
    "simulate": "cdsel_backend.simulate.command:simulate",
    "strategies": "cdsel_backend.cli:strategies",
}


class LazyGroup(click.Group):
    """Imports a command only when it is asked for: `cdsel --help` need not wait for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="cdsel")
def main() -> None:
    """Spend a labelling budget on images that teach the disease, not the confounder."""


@click.command()
def settings() -> None:
    """List every setting of a project and of the server, its default and what it means, as Markdown."""
    from cdsel_backend.settings_table import project_table, server_table

    click.echo(f"{project_table()}\n\n{server_table()}")


@click.command()
def strategies() -> None:
    """List the ways of choosing images, for the setting `strategy` and `cdsel simulate --strategy`."""
    from cdsel_backend.selection import describe
    from cdsel_backend.selection import strategies as names

    width = max(map(len, names()))
    for name in names():
        click.echo(f"{name:{width}}  {describe(name)}")


if __name__ == "__main__":
    main()
