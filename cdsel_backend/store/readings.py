"""What annotators say of a project's images: readings, the label that counts, and what is no label."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labels import majority, sole_label
from cdsel_backend.labels.pace import Pace, measure_pace
from cdsel_backend.store.arrays import AnnotationArrays, ids_of
from cdsel_backend.store.records import Annotation
from cdsel_backend.store.snapshot import Snapshot


class Readings(Snapshot):
    """The labels of a project, as they follow from its annotations."""

    @property
    def answers(self) -> AnnotationArrays:
        """Every annotation in Label Studio, as arrays."""
        return self._answers.arrays

    @cached_property
    def labels(self) -> dict[int, str]:
        """Item -> the label that counts, in order of items: `majority` of the readings that decide."""
        found, sole = self.answers, self._sole
        decided = {item: majority(rows) for item, rows in self._decided.items() if rows[0].label is not None}
        texts = [*map(sole_label, found.label.texts), *decided.values()]
        items = np.concatenate([found.item[sole], ids_of(decided)])
        codes = np.concatenate([found.label.codes[sole], len(found.label.texts) + np.arange(len(decided))])
        order = np.argsort(items)
        return dict(zip(items[order].tolist(), map(texts.__getitem__, codes[order].tolist()), strict=True))

    @cached_property
    def deciding(self) -> dict[int, list[Annotation]]:
        """Item -> its readings, or those alone that are marked as ground truth in Label Studio where any is.

        One of these that gives a class that is not learned, as for "cannot tell", leaves the image without a label.
        """
        return _deciding(self.annotations, self.readings)

    @property
    def adjudicated(self) -> set[int]:
        """Items of which somebody decided in Label Studio what is true."""
        sole = set(self.answers.item[self._sole & self.answers.ground_truth].tolist())
        return sole | {item for item, rows in self._decided.items() if rows[0].ground_truth}

    @cached_property
    def readings(self) -> dict[int, list[Annotation]]:
        """Item -> the newest label of each who labelled it; one without an annotator's name stands for itself.

        Of one annotator, what is marked as ground truth goes before what is newer.
        """
        return _newest(self.annotations)

    @cached_property
    def several_readings(self) -> dict[int, list[Annotation]]:
        """The `readings` of items that several people labelled."""
        return {item: rows for item, rows in _newest(self._answers.contested).items() if len(rows) > 1}

    @cached_property
    def labelled_by(self) -> dict[str, NDArray[np.int64]]:
        """User id, as text -> the items that she labelled, ascending; "": whoever is not known."""
        found = self.answers
        by = {
            name: np.unique(found.item[found.labelled & (found.annotator.codes == code)])
            for code, name in enumerate(found.annotator.texts)
        }
        return {name: items for name, items in by.items() if len(items)}

    def readings_of(self, items: Collection[int]) -> dict[int, list[Annotation]]:
        """The `readings` of some items, without reading those of all."""
        return _newest(self._store.labels_of(self.project.id, items))

    @cached_property
    def skipped(self) -> set[int]:
        """Items that an annotator skipped, or submitted without a label that is learned, and nobody labelled."""
        return set(self.answers.item[~self.answers.question].tolist()) - self.labels.keys()

    @cached_property
    def other_answers(self) -> set[int]:
        """Items with answers to other questions than the one that is learned, and nothing else."""
        return set(self.answers.item.tolist()) - self.skipped - self.labels.keys()

    @cached_property
    def undecided(self) -> set[int]:
        """Items whose only answer is a class that is not learned (`ignore_classes`); `skipped` holds them, too."""
        return set(self.answers.item[self.answers.ignored].tolist()) & self.skipped

    @cached_property
    def pace(self) -> Pace:
        """How long annotators take for an image."""
        return measure_pace(self._store.times(self.project.id))

    @cached_property
    def _sole(self) -> NDArray[np.bool_]:
        """(n,): which of the `answers` are the one label of an image, so that it counts."""
        return self.answers.labelled & ~np.isin(self.answers.item, self.answers.contested)

    @cached_property
    def _decided(self) -> dict[int, list[Annotation]]:
        """The `deciding` readings of contested items."""
        return _deciding(self._answers.contested, _newest(self._answers.contested))


def _newest(annotations: Iterable[Annotation]) -> dict[int, list[Annotation]]:
    """`Readings.readings` of some annotations."""
    readings: dict[int, dict[str | int, Annotation]] = {}
    for row in sorted(annotations, key=lambda row: (row.ground_truth, row.updated_at, row.annotation)):
        if row.label is not None:
            readings.setdefault(row.item, {})[row.annotator or row.annotation] = row
    return {item: list(by.values()) for item, by in sorted(readings.items())}


def _deciding(
    annotations: Iterable[Annotation], readings: Mapping[int, list[Annotation]]
) -> dict[int, list[Annotation]]:
    """`Readings.deciding` of some annotations and the readings that they make."""
    marked: dict[int, list[Annotation]] = {}
    for row in annotations:
        if row.ground_truth and row.label is None and row.question is None and row.ignored is not None:
            marked.setdefault(row.item, []).append(row)
    for item, rows in readings.items():
        if true := [row for row in rows if row.ground_truth]:
            marked[item] = true
    return {**readings, **marked}
