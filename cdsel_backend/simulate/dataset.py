"""Labelled history as arrays: a table of metadata with vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.confounders import detect
from cdsel_backend.labels import Labels
from cdsel_backend.phrases import form, number_of
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import MISSING, Column
from cdsel_backend.pool.groups import group_id
from cdsel_backend.pool.label_cells import is_several, label_of
from cdsel_backend.simulate.pictures import Pictures
from cdsel_backend.table import Row, UsageError, require

_TELLING = 16  # values of a vector from which two that are equal are of one picture
FEW = 5  # images of a class, below which nothing is learned or measured of it


@dataclass(frozen=True, eq=False)
class Dataset:
    """n labelled items: `vectors` (n, d) float32, `labels` (n,) into `classes`, `groups` (n,), `columns` confounders.

    `rows` (n,) are their rows in the table, `pictures` what a fine-tune reads of its images. `notes` say
    what was left out.
    """

    name: str
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: NDArray[np.int64]
    columns: tuple[Column, ...]
    rows: NDArray[np.int64]
    notes: tuple[str, ...] = field(default=())
    pictures: Pictures | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Dataset:
        """Return the items of `index`."""
        return replace(
            self,
            vectors=self.vectors[index],
            labels=self.labels[index],
            groups=self.groups[index],
            columns=tuple(column.take(index) for column in self.columns),
            rows=self.rows[index],
        )


def check_columns(
    rows: Sequence[Row], label: str, confounders: Sequence[str], group: str | None, ignore: Sequence[str]
) -> None:
    """Raise UsageError where a table lacks a column that is named."""
    named = [name for name in confounders if name != "auto"]
    groups = [] if group is None else [group]
    options = {"--label": [label], "--confounder": named, "--group": groups, "--ignore": ignore}
    for option, columns in options.items():
        for column in columns:
            part = column.rpartition(" (")[0]  # one of several numbers in a column
            require(
                rows,
                option,
                part if option == "--confounder" and part in (rows[0] if rows else ()) else column,
            )
    if label in named:
        raise UsageError(f"--confounder: {label!r} is the --label itself; name another column")
    check_classes(label, Counter(filter(None, (label_of(row.get(label) or "") for row in rows))))
    if group == label:
        raise UsageError(
            f"--group: {label!r} is the --label itself; name the column of the patient or lesion"
        )


def load_dataset(
    rows: Sequence[Row],
    vectors: NDArray[np.float32],
    *,
    name: str,
    label: str,
    confounders: Sequence[str],
    group: str | None,
    ignore: Sequence[str] = (),
    image_column: str | None = None,
) -> Dataset:
    """Put a table and its vectors (one a row) together; rows without a label or a finite vector are left out.

    `confounders` are column names; ("auto",) takes what `detect` names from all labels. Raises UsageError for a
    column that is not there, fewer than two classes, or no confounder found.
    """
    check_columns(rows, label, confounders, group, ignore)
    texts = [label_of(row.get(label, "")) for row in rows]
    kept, notes = _usable(vectors, texts, label)
    kept, copies = _without_copies(kept, vectors, texts)
    here = [rows[i] for i in kept]
    classes, labels = np.unique([texts[i] for i in kept] or [""], return_inverse=True)
    few = check_classes(label, Counter(texts[i] for i in kept))
    groups = _groups(here, kept, group)
    metadata = [
        {key: value for key, value in row.items() if key not in (label, image_column)} for row in here
    ]
    columns = read_columns(metadata, ignore=ignore, groups=group)
    odd = [f"{column.name}: {column.note}." for column in columns if column.note]
    if len(np.unique(groups)) < 2:
        raise UsageError(
            f"--group: column {group!r} holds one patient or lesion for all images, and none is left to test on; name "
            "another, or leave it out"
        )
    data = Dataset(
        name,
        vectors[kept].astype(np.float32),
        labels.astype(np.int64),
        tuple(str(c) for c in classes),
        groups,
        tuple(columns),
        kept,
        (*notes, *copies, *few, *odd),
    )
    return _with_confounders(data, [name for name in confounders if name != "auto"])


def _usable(
    vectors: NDArray[np.float32], texts: Sequence[str], label: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the rows with a label text and a finite vector, and notes on the others.

    Raises UsageError where rows have labels, and none of these a vector.
    """
    has_label = np.array([bool(text) for text in texts])
    finite = np.isfinite(vectors).all(axis=1)
    kept = np.flatnonzero(has_label & finite)
    if has_label.any() and not len(kept):
        raise UsageError(
            f"none of {number_of(int(has_label.sum()), 'labelled row')} has a usable image or vector"
        )
    notes = []
    for lacking, what in ((~has_label, label), (has_label & ~finite, "usable image")):
        if count := int(lacking.sum()):
            have, were = form(count, "has", "have"), form(count, "was", "were")
            notes.append(f"{number_of(count, 'row')} {have} no {what} and {were} left out.")
    return kept, notes


def _groups(rows: Sequence[Row], numbers: NDArray[np.int64], group: str | None) -> NDArray[np.int64]:
    """Return (m,): the patient or lesion of each row by the column `group`; a row without one is alone."""
    keys = [group_id(row[group]) if group else "" for row in rows]
    unique = [key or f"\0row {number}" for number, key in zip(numbers, keys, strict=True)]
    return np.unique(unique, return_inverse=True)[1].astype(np.int64)


def _without_copies(
    kept: NDArray[np.int64], vectors: NDArray[np.float32], texts: Sequence[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Return those of the rows `kept` (m,) that show no picture of a row before them, and notes on the others.

    A project asks for a picture once, and on both sides of a split it would be tested on what it was trained on. Long
    vectors that are equal bit by bit are those of one picture.
    """
    if vectors.shape[1] < _TELLING:
        return kept, []
    first: dict[bytes, int] = {}
    stay = [first.setdefault(vectors[row].tobytes(), row) == row for row in kept.tolist()]
    copies = [row for row, own in zip(kept.tolist(), stay, strict=True) if not own]
    if not copies:
        return kept, []
    count, other = len(copies), sum(texts[row] != texts[first[vectors[row].tobytes()]] for row in copies)
    notes = [
        f"{number_of(count, 'row')} {form(count, 'shows', 'show')} the picture of a row before it and "
        f"{form(count, 'was', 'were')} left out."
    ]
    if other:
        notes.append(
            f"{number_of(other, 'of these rows has', 'of these rows have')} another label than the row before it, "
            "which counts."
        )
    return kept[stay], notes


def check_classes(label: str, counts: Counter[str]) -> list[str]:
    """Return notes on the classes of a column, by how many images have each.

    Raises UsageError where they are none to learn: fewer than two, nearly one an image, several in one cell, or
    different in upper and lower case alone.
    """
    names, n = sorted(counts), sum(counts.values())
    if len(names) < 2:
        held = f"only {names[0]!r}" if names else "no label"
        raise UsageError(f"--label: column {label!r} holds {held}; at least two classes are needed")
    several = next((name for name in names if is_several(name)), None)
    if several is not None:
        raise UsageError(
            f"--label: column {label!r} holds several labels in a cell, such as {several[:100]}; one class an image is "
            "needed: name a column that has one, such as whether the image shows a finding"
        )
    spelt: dict[str, str] = {}
    for name in names:
        other = spelt.setdefault(name.casefold(), name)
        if other != name:
            raise UsageError(f"--label: column {label!r} holds {other!r} and {name!r}: write one class alike")
    if len(names) > max(2, n / 2):
        raise UsageError(
            f"--label: column {label!r} holds {number_of(len(names), 'different value')} in "
            f"{number_of(n, 'row')}; name a column of classes"
        )
    few = [f"{name} ({counts[name]})" for name in names if counts[name] < FEW]
    return [f"Too few images to learn or measure: {', '.join(few)}."] if few else []


def _with_confounders(data: Dataset, named: Sequence[str]) -> Dataset:
    by_name = {column.name: column for column in data.columns}
    if not named:
        labels = Labels(data.labels, data.classes, groups=data.groups)
        report = detect(data.vectors, data.columns, labels)
        named = report.confounders
        if not named:
            raise UsageError("--confounder auto: no column confounds here; name one to test against it")
    for name in named:
        if name not in by_name:
            raise UsageError(
                f"--confounder: column {name!r} names the images; choose from {', '.join(by_name) or 'no other'}"
            )
        if len(by_name[name].levels) < 2:
            raise UsageError(f"--confounder: column {name!r} never varies; name another")
    return replace(data, columns=tuple(by_name[name] for name in named))


def two_levels(data: Dataset, levels: Sequence[str] = ()) -> Dataset:
    """Return the items of two levels of the one confounder, its codes 0 and 1: those named, else the two largest."""
    if len(data.columns) != 1:
        names = ", ".join(column.name for column in data.columns)
        raise UsageError(
            f"--correlation with a number needs one --confounder, not {names}; name one, or use natural"
        )
    column = data.columns[0]
    if not levels:
        counts = np.bincount(column.codes, minlength=len(column.levels))
        known = [i for i, level in enumerate(column.levels) if level != MISSING]
        levels = sorted(column.levels[i] for i in sorted(known, key=lambda i: -counts[i])[:2])
    if len(levels) != 2 or levels[0] == levels[1]:
        raise UsageError(
            f"--levels: {', '.join(levels)!r} are not two levels of {column.name}; write two, as a,b"
        )
    for level in levels:
        if level not in column.levels:
            raise UsageError(
                f"--levels: {column.name} has no level {level!r}; it has {', '.join(column.levels)}"
            )
    codes = np.array([column.levels.index(level) for level in levels])
    inside = np.isin(column.codes, codes)
    kept = data.take(inside)
    recoded = (kept.columns[0].codes == codes[1]).astype(np.int64)
    return replace(kept, columns=(Column(column.name, "categorical", tuple(levels), recoded),))
