"""What annotators of a project decide: the classes, and how a result of Label Studio says them.

Two kinds. `single`: each image has one class (`<Choices choice="single">`). `presence`: it shows any of them: several
choices, or regions, of which only the presence of each label in the image counts. As text a label of a `presence`
project is the canonical JSON of the names (`labels/presence.py`).

Nothing chosen. A single choice without a choice is no label. In a `presence` project whoever submits an image with
nothing ticked or drawn says that it shows none of the classes: without those answers there would be no negatives,
as radiologists draw on what they find; unless Label Studio did not even show her the control (`visibleWhen`). A
skipped image is no label in either. An administrator who wants no such
answers writes `required="true"` on the control: Label Studio then refuses them, and they are no label here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cdsel_backend.labels import SINGLE, LabelKind, SeveralLabels
from cdsel_backend.labelstudio.conditions import Condition, is_drawn
from cdsel_backend.labelstudio.fields import ImageField
from cdsel_backend.store.records import Json


class UnknownLabel(ValueError):
    """An annotation that names what is not in the labeling config, or several classes where one is due.

    `rest` is the label that the known part of it makes; None where nothing is left.
    """

    def __init__(self, message: str, rest: str | None = None) -> None:
        super().__init__(message)
        self.rest = rest


@dataclass(frozen=True)
class LabelSpace:
    """What annotators of a project decide, and where in a task the image is."""

    image: ImageField
    """Where `task.data` holds the image's address."""
    control: str
    """Name of the control tag: `from_name` of a result."""
    to_name: str
    """Name of the image tag."""
    classes: tuple[str, ...]
    """What results hold: each choice's or label's alias where it has one, else its value; in the config's order."""
    names: Mapping[str, str] = field(repr=False)
    """Any name of a class (its value, its alias) -> the class."""
    settings: Mapping[str, str]
    """The `cdsel_*` attributes of the labeling config, without the prefix: {"budget": "200"}."""
    notes: tuple[str, ...]
    """What of the config is not used, as sentences."""
    kind: LabelKind = SINGLE
    value_key: str = "choices"
    """Where a part of a result holds its names: `choices`, or `rectanglelabels` and the like for regions."""
    controls: frozenset[str] = frozenset()
    """Names of all control tags of the labeling config: the questions that an annotation may answer."""
    learnable: tuple[str, ...] = ()
    """Names of those whose answers can be learned: what `learn` may name, in the config's order."""
    required: bool = False
    """Label Studio takes no annotation that leaves the control empty."""
    shown_when: tuple[Condition, ...] = ()
    """All of these must hold for Label Studio to show the control (`visibleWhen`)."""
    ignored: tuple[str, ...] = ()
    """Classes that annotators may choose and that are not learned; none of them is among `classes`."""

    @property
    def regions(self) -> bool:
        """Whether annotators draw regions rather than tick choices."""
        return self.value_key != "choices"

    @property
    def empty_counts(self) -> bool:
        """Whether an annotation with nothing chosen says that the image shows none of the classes."""
        return self.kind.several and not self.required

    @property
    def hint(self) -> str:
        """What annotators should know of answers with nothing chosen; empty where these are no labels."""
        if not self.empty_counts:
            return ""
        do, done = ("Draw", "drawn") if self.regions else ("Tick", "ticked")
        return (
            f"{do} everything that an image shows, and submit; with nothing {done} it counts as showing none."
        )

    def without(self, names: Sequence[str]) -> LabelSpace:
        """This label space without classes that are not learned, each given by any of its names.

        Raises:
            UnknownLabel: a name that no class has, or too few classes would be left; the message says what to do.
        """
        found = [self.names.get(name) for name in names]
        strangers = [name for name, own in zip(names, found, strict=True) if own is None]
        if strangers:
            raise UnknownLabel(
                f"ignore_classes names {', '.join(map(repr, strangers))}, which is no class of {self.control!r}: "
                f"it has {', '.join(map(repr, (*self.classes, *self.ignored)))}"
            )
        ignored = tuple(name for name in (*self.classes, *self.ignored) if name in (*found, *self.ignored))
        left = tuple(name for name in self.classes if name not in ignored)
        if len(left) < self.kind.fewest_classes:
            raise UnknownLabel(
                f"ignore_classes leaves {', '.join(map(repr, left)) or 'no class'} of {self.control!r} to learn: "
                f"leave at least {self.kind.fewest_classes}"
            )
        return replace(self, classes=left, ignored=ignored)

    def ignored_in(self, result: Sequence[Mapping[str, Any]] | None) -> str | None:
        """The classes that are not learned, where a `result` gives such classes and no other; else None."""
        found = {self.names.get(name, name) for name in self._named(result)}
        return ", ".join(sorted(found)) if found and found <= set(self.ignored) else None

    def label_of(self, result: Sequence[Mapping[str, Any]] | None) -> str | None:
        """The label that an annotation's `result` makes; None where it makes none.

        Raises:
            UnknownLabel: a name outside the config, several in a single choice, or a region without a label.
        """
        named = self._named(result)
        found = {self.names.get(name, name) for name in named}
        if found and found <= set(self.ignored):
            return None
        found -= set(self.ignored)
        strangers, known = sorted(found - set(self.classes)), found & set(self.classes)
        if strangers:
            raise UnknownLabel(
                f"label {', '.join(map(repr, strangers))} is not in the labeling config, "
                f"whose {self.control!r} knows {', '.join(map(repr, self.classes))}; where a class was renamed, "
                'its former name has to stay as the alias: <Choice value="new name" alias="former name"/>',
                self.kind.text(known) if self.kind.several else None,
            )
        if self.regions and _unlabelled(result):
            raise UnknownLabel(
                "a region was drawn that has no label: give it one, or delete it",
                self.kind.text(known) if known else None,
            )
        try:
            return self.kind.text(known, empty_counts=self.empty_counts and self.asked(result))
        except SeveralLabels as fault:
            raise UnknownLabel(str(fault)) from fault

    def other_question(self, result: Sequence[Mapping[str, Any]] | None) -> str | None:
        """The controls that a `result` answers instead of ours; None where it answers ours, or none.

        Where nothing chosen is an answer, whoever answered another question of the labeling config left ours empty.
        """
        named = {part.get("from_name") for part in result or () if isinstance(part, Mapping)}
        others = {name for name in named if isinstance(name, str) and name}
        if self.control in others or not others:
            return None
        if self.empty_counts and others <= self.controls and self.asked(result):
            return None
        return ", ".join(sorted(others))

    def asked(self, result: Sequence[Mapping[str, Any]] | None) -> bool:
        """Whether Label Studio showed the control to whoever gave this `result`."""
        return all(condition.holds(result or ()) for condition in self.shown_when)

    def _named(self, result: Sequence[Mapping[str, Any]] | None) -> list[str]:
        """The names that the control's parts of a result hold."""
        named: list[str] = []
        for part in result or ():
            value = part.get("value") if isinstance(part, Mapping) else None
            if isinstance(value, Mapping) and part.get("from_name") == self.control:
                names = value.get(self.value_key)
                named += [str(name) for name in names] if isinstance(names, list) else []
        return named

    def result_for(self, label: str) -> list[Json]:
        """The `result` of an annotation or prediction that says `label`; empty for regions, which nobody drew.

        Raises:
            UnknownLabel: a label outside the config.
        """
        names = list(self.kind.names(label) or ())
        if label != self.kind.text(names, empty_counts=True):
            raise UnknownLabel(f"label {label!r} is not written as one of {self.kind.asks}")
        strangers = [name for name in names if name not in self.classes]
        if strangers:
            raise UnknownLabel(f"label {', '.join(map(repr, strangers))} is not in the labeling config")
        if self.regions or not names:
            return []
        part = {"from_name": self.control, "to_name": self.to_name, "type": "choices"}
        return [part | {"value": {"choices": names}}]

    def prediction(self, probabilities: Sequence[float]) -> tuple[list[Json], float]:
        """The `result` and the `score` that show a model's probabilities (c,), in the order of the classes.

        What they are is for the kind of label to say. Regions: the score alone, for no region may be made up. A score
        is given to a millionth: further digits depend on which images were asked about together.
        """
        label, score = self.kind.prediction(probabilities, self.classes)
        return self.result_for(label), round(score, 6)


def _unlabelled(result: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a `result` has a region that no label of any control was given: nobody says what is there.

    A shape and its label are one part (`<RectangleLabels>`), or two of the same id (`<Rectangle>` and `<Labels>`).
    """
    drawn: set[object] = set()
    labelled: set[object] = set()
    for part in result or ():
        value = part.get("value") if isinstance(part, Mapping) else None
        if isinstance(value, Mapping):
            number = str(part.get("id"))
            if any(str(key).endswith("labels") and names for key, names in value.items()):
                labelled.add(number)
            if is_drawn(value):
                drawn.add(number)
    return bool(drawn - labelled)
