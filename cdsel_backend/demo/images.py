"""The images a demo runs on: a table of them, read and checked before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

import cdsel_backend
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.label_cells import is_several, label_of
from cdsel_backend.sources.image_cells import image_file, require_images
from cdsel_backend.store.records import Json
from cdsel_backend.table import UsageError, read_table, require

TASK_IMAGE = "image"  # the field of task.data that label_config/single_choice.xml shows
MOST_CLASSES = 30
LONGEST = 100  # letters of a cell in a message


@dataclass(frozen=True)
class LabelledImages:
    """Images with the truth that a scripted annotator gives."""

    folder: Path
    files: Sequence[str]
    """Paths below `folder`."""
    metadata: Sequence[Mapping[str, str]]
    """The other columns of each, without the label."""
    truth: Sequence[str]
    group: str | None
    """The column that names the patient or lesion."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, in order."""
        return tuple(sorted(set(self.truth)))

    def tasks(self, document_root: Path) -> list[Json]:
        """What Label Studio imports, in the order of `files`; the label stays out."""
        below = self.folder.resolve().relative_to(document_root.resolve())
        return [
            {"data": {**row, TASK_IMAGE: f"/data/local-files/?d={quote((below / file).as_posix())}"}}
            for file, row in zip(self.files, self.metadata, strict=True)
        ]


def read_images(
    metadata: Path,
    images: Path,
    *,
    image_column: str,
    label: str,
    group: str | None = None,
    ignore: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> LabelledImages:
    """Read a CSV table of labelled images.

    Rows without a label are left out: nobody could answer for them. Files may be missing; the backend lists
    those. `limit` takes a random subset, the same for the same seed, in the table's order.

    Raises:
        UsageError: the table cannot be read, a column is not there, the labels are no classes, or no file
            is where the table says.
    """
    rows = read_table(metadata)
    require(rows, "--image-column", image_column)
    require(rows, "--label", label)
    for option, names in (("--group", [group] if group else []), ("--ignore", ignore)):
        for name in names:
            require(rows, option, name)
    rows = [
        {**row, label: name} for row in rows if (name := label_of(row[label])) and row[image_column].strip()
    ]
    _check_classes(sorted({row[label] for row in rows}), f"--label: column {label!r} of {metadata}")
    if limit is not None and limit < len(rows):
        kept = np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit])
        rows = [rows[index] for index in kept]
    folder = images.resolve()
    if folder.parent == folder:
        raise UsageError("--images: Label Studio does not serve the root of a disk: name a folder below it")
    require_images(rows, folder, image_column)
    return LabelledImages(
        folder=folder,
        files=[_below(folder, row[image_column]) for row in rows],
        metadata=[
            {name: value for name, value in row.items() if name not in (image_column, label)} for row in rows
        ],
        truth=[row[label] for row in rows],
        group=group,
    )


def _below(folder: Path, cell: str) -> str:
    """The path below a folder of the image that a cell names, of which Label Studio makes an address."""
    file = image_file(folder, cell)
    path = os.path.relpath(file.parent.resolve() / file.name, folder)
    if path.split(os.sep)[0] == os.pardir:
        raise UsageError(
            f"--images: {cell} does not lie below {folder}: name a folder that holds all images of the table"
        )
    return path


def _check_classes(classes: Sequence[str], begin: str) -> None:
    """Raise UsageError, beginning so, where the values of a column are no classes."""
    several = next(filter(is_several, classes), None)
    if several is not None:
        raise UsageError(
            f"{begin} holds lists or objects (JSON), such as {several[:LONGEST]}: write one class into each cell, as "
            "plain text, or name another column"
        )
    if not 2 <= len(classes) <= MOST_CLASSES:
        example = f", such as {classes[0][:LONGEST]!r}" if classes else ""
        raise UsageError(
            f"{begin} has {number_of(len(classes), 'different value')}{example}, and a label has 2 to {MOST_CLASSES}: "
            "name the column of the classes"
        )


def label_config(classes: Sequence[str]) -> str:
    """The labeling config of `label_config/`, asking for these classes."""
    package = Path(cdsel_backend.__file__).parent
    # In a wheel the folder lies inside the package, in a checkout beside it.
    folders = [package / "label_config", package.parent / "label_config"]
    template = next(folder for folder in folders if folder.is_dir()) / "single_choice.xml"
    root = ElementTree.fromstring(template.read_text(encoding="utf-8"))
    choices = next(root.iter("Choices"))
    for choice in list(choices):
        choices.remove(choice)
    for number, name in enumerate(classes, start=1):
        hotkey = {"hotkey": str(number)} if number <= 9 else {}
        ElementTree.SubElement(choices, "Choice", {"value": name, **hotkey})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
