"""The command line: `cdsel serve`, `demo`, `doctor`, `simulate`, `models` and the rest of `COMMANDS`."""

from __future__ import annotations

import signal
import threading
from importlib import import_module
from types import FrameType
from typing import Any

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


STOPPED = "Nothing is half written: the same command does it again."
SIGNALS = ("SIGTERM", "SIGHUP")
"""What ends a command as Ctrl-C does, where the system has it; `serve`, `worker` and `demo` have their own way."""


class Ended(KeyboardInterrupt):
    """A signal that ends the command; the exit status is 128 and its number, as in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


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

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; one that is stopped ends with a line, and the status that a shell gives it."""
        _listen()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            words = next((word for word in stopped.args if isinstance(word, str)), STOPPED)
            click.echo(f"\nStopped. {words}", err=True)
            ctx.exit(128 + getattr(stopped, "number", signal.SIGINT))
        except Exception as fault:
            sentence = _outside(fault)
            if sentence is None:
                raise
            raise click.ClickException(sentence) from None

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


def _listen() -> None:
    """Have every signal that would end this process at once end it in order."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    if threading.current_thread() is not threading.main_thread():
        return
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, end)


def _outside(fault: Exception) -> str | None:
    """What is wrong with the disk, the database or the vectors, as a sentence; None for faults of other kinds."""
    from sqlalchemy.exc import SQLAlchemyError  # slow to load: not for those who ask for --help

    from cdsel_backend.store.vectors import DamagedVectors

    if isinstance(fault, DamagedVectors):
        return str(fault)
    if not isinstance(fault, (OSError, SQLAlchemyError)):
        return None
    from cdsel_backend.store.faults import is_outside, sentence
    from cdsel_backend.whole_file import FULL

    if isinstance(fault, OSError) and fault.errno in FULL:
        where = f"of {fault.filename} " if fault.filename else ""
        return f"the disk {where}is full: make room there, and run the same command again; nothing is half written"
    return sentence(fault) if is_outside(fault) else None


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
