"""The command line: `cdsel serve`, `demo`, `doctor`, `simulate`, `models` and the rest of `COMMANDS`."""

from __future__ import annotations

from importlib import import_module

import click

from cdsel_backend import __version__

# Where each command is, and the first sentence of its help.
COMMANDS = {
    "adapt": (
        "cdsel_backend.simulate.adapt_command:adapt_backbone",
        "Adapt a backbone to the unlabelled images of FOLDER, without labels, and write its weights as a file.",
    ),
    "backbones": (
        "cdsel_backend.simulate.backbones_command:backbones",
        "List backbones for the setting `backbone`: what they see, how wide their vectors are, how fast they are here.",
    ),
    "backup": (
        "cdsel_backend.server.backup_command:backup",
        "Write the data folder into one archive with checksums, while the backend runs.",
    ),
    "demo": (
        "cdsel_backend.demo.command:demo",
        "Try the whole loop: Label Studio, a pool of images, the backend, and a queue to label.",
    ),
    "doctor": (
        "cdsel_backend.server.doctor_command:doctor",
        "Check address, token, switches, webhooks, images, disk, GPU and versions; say what to do.",
    ),
    "export": (
        "cdsel_backend.server.export_command:export",
        "Write every labelled image with its label, split, group, round, rank, reason, weight and model version.",
    ),
    "models": (
        "cdsel_backend.server.models_command:models",
        "Look at the model versions, choose which one serves, and export it as a file.",
    ),
    "pool": (
        "cdsel_backend.server.pool_command:pool",
        "Add images from outside Label Studio to a pool; look at, check and clear the vectors that are kept.",
    ),
    "predict": (
        "cdsel_backend.server.predict_command:predict",
        "Write what a model version says of every image of FOLDER, as a CSV file with a row for each image.",
    ),
    "restore": (
        "cdsel_backend.server.backup_command:restore",
        "Make the data folder what an archive of `cdsel backup` holds.",
    ),
    "serve": (
        "cdsel_backend.server.command:serve",
        "Run the ML backend: a web server for Label Studio and a worker beside it.",
    ),
    "settings": (
        "cdsel_backend.cli:settings",
        "List every setting of a project and of the server, its default and what it means, as Markdown.",
    ),
    "simulate": (
        "cdsel_backend.simulate.command:simulate",
        "Test strategies on labelled history: what would they have bought, and what would it have taught?",
    ),
    "strategies": (
        "cdsel_backend.cli:strategies",
        "List the ways of choosing images, for the setting `strategy` and `cdsel simulate --strategy`.",
    ),
    "takeover": (
        "cdsel_backend.server.takeover_command:takeover",
        "Go on with a project that another backend, or a data folder that is lost, worked for.",
    ),
    "worker": (
        "cdsel_backend.server.worker_command:worker",
        "Run one more worker for the projects of a database, without a web server.",
    ),
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
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them, as click would do for their help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


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
