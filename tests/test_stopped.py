"""A command that is stopped, by a key, by `kill` or with its terminal, ends in order, with one line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from backend import eventually
from click.testing import CliRunner

from cdsel_backend.cli import STOPPED, LazyGroup
from cdsel_backend.reconcile.processes import TrainingProcesses
from cdsel_backend.server.command import _until_told

WAITS = """
import pathlib, sys, time, types
import click
from cdsel_backend import cli
from cdsel_backend.whole_file import whole_file

@click.command()
def command():
    with whole_file(pathlib.Path(sys.argv[1]), lasting=False) as draft:
        draft.write_text("half")
        click.echo("begun")
        for _ in range(600):  # a signal that comes just before a sleep ends no sleep
            time.sleep(0.1)

sys.modules["waits"] = types.SimpleNamespace(command=command)
cli.COMMANDS["waits"] = "waits:command", ""
cli.main(["waits"])
"""


def _heed_signals() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and `nohup` has it ignore the end of the terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_line_the_status_of_the_signal_and_nothing_half_written(tmp_path: Path, number: signal.Signals):
    file = tmp_path / "labels.csv"
    file.write_text("former")
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_signals,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert said.strip() == f"Stopped. {STOPPED}"
    assert process.returncode == 128 + number
    assert [one.name for one in tmp_path.iterdir()] == ["labels.csv"]
    assert file.read_text() == "former"


def _receive(_: int, number: int) -> None:
    """What a training process does here: it gets a signal, as all processes of a service do when that is stopped."""
    signal.raise_signal(number)


def test_a_signal_to_all_processes_ends_no_training_before_its_worker():
    processes = TrainingProcesses()
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            processes.start(1, "a task", _receive, number)
            eventually(processes.any_ended, "it does not come to its end")
            end = processes.take_end(1)
            assert end is not None
            assert end.status == 0
    finally:
        processes.stop()


def test_a_part_of_the_server_ends_when_its_parent_says_so_and_not_with_the_terminal():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        stop = _until_told(os.getppid())
        for number in (signal.SIGINT, signal.SIGHUP):
            assert signal.getsignal(number) is signal.SIG_IGN
        assert not stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_full_disk_is_one_sentence_in_every_command():
    @click.group(cls=LazyGroup)
    def group() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/out/results.csv")

    answer = CliRunner().invoke(group, ["settings"])
    assert answer.exit_code == 1
    assert answer.output.strip() == (
        "Error: the disk of /data/out/results.csv is full: make room there, and run the same command again; nothing is "
        "half written"
    )
