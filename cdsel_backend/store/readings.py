"""What annotators say of a project's images: readings, the label that counts, and what is no label."""

from __future__ import annotations

from functools import cached_property

from cdsel_backend.labels import majority
from cdsel_backend.labels.pace import Pace, measure_pace
from cdsel_backend.store.records import Annotation
from cdsel_backend.store.snapshot import Snapshot


class Readings(Snapshot):
    """The labels of a project, as they follow from its annotations."""

    @cached_property
    def labels(self) -> dict[int, str]:
        """Item -> the label that counts: `majority` of the readings that decide."""
        return {item: majority(rows) for item, rows in self.deciding.items() if rows[0].label is not None}

    @cached_property
    def deciding(self) -> dict[int, list[Annotation]]:
        """Item -> its readings, or those alone that are marked as ground truth in Label Studio where any is.

        One of these that gives a class that is not learned, as for "cannot tell", leaves the image without a label.
        """
        deciding = dict(self.readings)
        marked: dict[int, list[Annotation]] = {}
        for row in self.annotations:
            if row.ground_truth and row.label is None and row.question is None and row.ignored is not None:
                marked.setdefault(row.item, []).append(row)
        for item, rows in self.readings.items():
            if true := [row for row in rows if row.ground_truth]:
                marked[item] = true
        return deciding | marked

    @property
    def adjudicated(self) -> set[int]:
        """Items of which somebody decided in Label Studio what is true."""
        return {item for item, rows in self.deciding.items() if rows[0].ground_truth}

    @cached_property
    def readings(self) -> dict[int, list[Annotation]]:
        """Item -> the newest label of each who labelled it; one without an annotator's name stands for itself.

        Of one annotator, what is marked as ground truth goes before what is newer.
        """
        readings: dict[int, dict[str | int, Annotation]] = {}
        for row in sorted(
            self.annotations, key=lambda row: (row.ground_truth, row.updated_at, row.annotation)
        ):
            if row.label is not None:
                readings.setdefault(row.item, {})[row.annotator or row.annotation] = row
        return {item: list(by.values()) for item, by in sorted(readings.items())}

    @cached_property
    def skipped(self) -> set[int]:
        """Items that an annotator skipped, or submitted without a label that is learned, and nobody labelled."""
        return {row.item for row in self.annotations if row.question is None} - self.labels.keys()

    @cached_property
    def other_answers(self) -> set[int]:
        """Items with answers to other questions than the one that is learned, and nothing else."""
        return {row.item for row in self.annotations} - self.skipped - self.labels.keys()

    @cached_property
    def undecided(self) -> set[int]:
        """Items whose only answer is a class that is not learned (`ignore_classes`); `skipped` holds them, too."""
        return {row.item for row in self.annotations if row.ignored is not None} & self.skipped

    @cached_property
    def pace(self) -> Pace:
        """How long annotators take for an image."""
        return measure_pace((row.annotator, row.seconds) for row in self.annotations)
