"""What a backtest has done so far: one that was stopped, or failed, goes on from there by the same command."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import joblib

from cdsel_backend import __version__
from cdsel_backend.simulate.dataset import Dataset
from cdsel_backend.simulate.outcome import Outcome
from cdsel_backend.simulate.plan import Plan, Unit
from cdsel_backend.table import UsageError
from cdsel_backend.whole_file import whole_file

FOLDER = ".cdsel-unfinished"
"""Of the folder for the results. It goes when they are written."""


class Checkpoint:
    """The outcomes of units, a file each, of one plan on the same data by the same version.

    Raises UsageError where no folder can be made in `out`.
    """

    def __init__(self, out: Path, sets: Mapping[str, Dataset], plan: Plan, how: object) -> None:
        # The pictures of a fine-tune follow from the table and from `how` they are read.
        data = {correlation: replace(one, pictures=None) for correlation, one in sets.items()}
        self._all = out / FOLDER
        self._folder = self._all / str(joblib.hash((__version__, data, plan, how)))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out: {out} cannot be made: {error.strerror or error}") from error

    def __contains__(self, unit: Unit) -> bool:
        return self._file(unit).exists()

    def read(self, unit: Unit) -> Outcome:
        """Return a unit's outcome."""
        outcome: Outcome = joblib.load(self._file(unit))
        return outcome

    def write(self, unit: Unit, outcome: Outcome) -> None:
        """Keep a unit's outcome: wholly or not at all, whenever the process dies."""
        with whole_file(self._file(unit), lasting=False) as draft:
            joblib.dump(outcome, draft)

    def remove(self) -> None:
        """Remove what is kept, of other plans, too."""
        shutil.rmtree(self._all, ignore_errors=True)

    def _file(self, unit: Unit) -> Path:
        return self._folder / "-".join(map(str, unit))
