"""Whether this backend does its work: the database, the disk, and the pulse of the workers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.store.faults import sentence
from cdsel_backend.store.pulses import Pulse

MIN_FREE_BYTES = 200_000_000  # of the data folder's disk: a model version and a part of the vectors


def find_problems(server: ServerSettings, store: Store) -> list[str]:
    """What keeps this backend from its work, as sentences; none where all is well, or no worker has started yet."""
    problems = []
    try:
        free = shutil.disk_usage(server.data_dir).free
        if free < MIN_FREE_BYTES:
            problems.append(
                f"The disk of the data folder has {free / 1e6:.0f} MB left and needs {MIN_FREE_BYTES / 1e6:.0f}: "
                "make room, or move CDSEL_DATA_DIR to a larger one."
            )
    except OSError as fault:
        problems.append(f"The data folder cannot be looked at ({fault}): see that CDSEL_DATA_DIR is there.")
    try:
        problems += pulse_problems(store.pulses())
    except SQLAlchemyError as fault:
        message = sentence(fault)
        problems.append(f"{message[0].upper()}{message[1:]}.")
    return problems


def pulse_problems(pulses: Sequence[Pulse]) -> list[str]:
    """What is wrong with the workers, as sentences."""
    if pulses and all(pulse.dead for pulse in pulses):
        minutes = min(pulse.silent_seconds for pulse in pulses) / 60
        return [
            f"No worker has been alive for {minutes:.0f} minutes: start `cdsel serve` or `cdsel worker` again."
        ]
    return [
        f"The worker {pulse.holder} has been at one step for {pulse.step_seconds / 60:.0f} minutes: its log says at "
        "which; ending the process loses nothing."
        for pulse in pulses
        if pulse.stuck
    ]
