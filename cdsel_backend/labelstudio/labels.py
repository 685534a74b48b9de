"""Labeling config <-> label space; annotation result <-> label.

Supported now: one `<Choices choice="single">` on an `<Image>`. `LabelSpace.kind` is where multi-label and
the presence of regions can be told apart later: everything else asks `label_of` and `result_for`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

REASON_FIELD = "cdsel_reason"
SETTING_PREFIX = "cdsel_"

_SUPPORTED = (
    'supported is one <Image value="$..."> with a <Choices choice="single"> that points to it, for example '
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="benign"/><Choice value="malignant"/></Choices></View>'
)


class UnsupportedLabelConfig(ValueError):
    """A labeling config without an image and a single choice on it; says what was found and what is due."""


class UnknownLabel(ValueError):
    """An annotation whose choice is not in the labeling config, or is more than one."""


@dataclass(frozen=True)
class LabelSpace:
    """What annotators of a project decide, and where in a task the image is."""

    image_key: str
    """Key of `task.data` that holds the image's address."""
    control: str
    """Name of the control tag: `from_name` of a result."""
    to_name: str
    """Name of the image tag."""
    classes: tuple[str, ...]
    """What results hold: each choice's alias where it has one, else its value; in the config's order."""
    names: Mapping[str, str] = field(repr=False)
    """Any name of a class (its value, its alias) -> the class."""
    settings: Mapping[str, str]
    """The control's `cdsel_*` attributes, without the prefix: {"budget": "200"}."""
    notes: tuple[str, ...]
    """What of the config is not used, in words."""
    kind: Literal["single choice"] = "single choice"

    def label_of(self, result: Sequence[Mapping[str, Any]] | None) -> str | None:
        """The class that an annotation's `result` names; None where it says nothing of this control.

        Raises:
            UnknownLabel: a choice outside the config, or several in a single choice.
        """
        chosen: list[str] = []
        for part in result or ():
            value = part.get("value") if isinstance(part, Mapping) else None
            if not isinstance(value, Mapping) or part.get("from_name") != self.control:
                continue
            choices = value.get("choices")
            chosen += [str(choice) for choice in choices] if isinstance(choices, list) else []
        known = {self.names.get(choice, choice) for choice in chosen}
        strangers = sorted(known - set(self.classes))
        if strangers:
            raise UnknownLabel(
                f"label {', '.join(map(repr, strangers))} is not in the labeling config, "
                f"whose {self.control!r} knows {', '.join(map(repr, self.classes))}"
            )
        if len(known) > 1:
            raise UnknownLabel(f"several labels where one is due: {', '.join(map(repr, sorted(known)))}")
        return known.pop() if known else None

    def result_for(self, label: str) -> list[dict[str, Any]]:
        """The `result` of an annotation or prediction that says `label`.

        Raises:
            UnknownLabel: a label outside the config.
        """
        if label not in self.classes:
            raise UnknownLabel(f"label {label!r} is not in the labeling config")
        return [
            {
                "from_name": self.control,
                "to_name": self.to_name,
                "type": "choices",
                "value": {"choices": [label]},
            }
        ]


def parse_label_space(label_config: str) -> LabelSpace:
    """Read the label space from a labeling config.

    With several controls the first single choice on an image is used; `notes` names the others.

    Raises:
        UnsupportedLabelConfig: no XML, no image, no single choice on an image, or choices that are not
            listed in the config.
    """
    root = _parse(label_config)
    images = {tag.get("name", ""): tag for tag in root.iter() if _is(tag, "Image")}
    controls = [tag for tag in root.iter() if tag.get("toName")]
    if not images:
        objects = sorted({str(tag.tag) for tag in root.iter() if (tag.get("value") or "").startswith("$")})
        found = f"it shows {', '.join(objects)}" if objects else "it shows nothing"
        raise UnsupportedLabelConfig(f"the labeling config has no <Image>: {found}; {_SUPPORTED}")
    refusals: list[str] = []
    for control in controls:
        refusal = _refusal(control, images)
        if refusal is None:
            return _space(control, images, [other for other in controls if other is not control])
        refusals.append(refusal)
    found = "; ".join(refusals) or "it has no control tag"
    raise UnsupportedLabelConfig(f"the labeling config cannot be used: {found}; {_SUPPORTED}")


def _refusal(control: ElementTree.Element, images: Mapping[str, ElementTree.Element]) -> str | None:
    """Why a control cannot be used, in words; None when it can."""
    name = f'<{control.tag} name="{control.get("name", "")}">'
    if not _is(control, "Choices"):
        return f"{name} is no single choice"
    choice = control.get("choice", "single")
    if not choice.startswith("single"):
        return f'{name} is choice="{choice}", not a single choice'
    if (
        control.get("perRegion", "false").lower() == "true"
        or control.get("perItem", "false").lower() == "true"
    ):
        return f"{name} asks for each region or item, not for the image"
    target = control.get("toName", "")
    if target not in images:
        return f"{name} points to {target!r}, which is no <Image>"
    if not re.fullmatch(r"\$\S+", images[target].get("value", "")):
        return f'the <Image name="{target}"> of {name} has no value="$field"'
    choices = [tag for tag in control.iter() if _is(tag, "Choice")]
    if any(_is(inner, "Choice") for tag in choices for inner in tag):
        return f"{name} has choices within choices"
    if not all(tag.get("value") for tag in choices):
        return f"{name} has a <Choice> without a value"
    if not choices and control.get("value"):
        return f"{name} takes its choices from the tasks ({control.get('value')}) instead of listing them"
    classes = [_class_of(tag) for tag in choices]
    if len(set(classes)) < max(2, len(classes)):
        return f"{name} needs at least two choices, all different, and has {', '.join(classes) or 'none'}"
    return None


def _space(
    control: ElementTree.Element,
    images: Mapping[str, ElementTree.Element],
    others: Sequence[ElementTree.Element],
) -> LabelSpace:
    target = control.get("toName", "")
    choices = [tag for tag in control.iter() if _is(tag, "Choice")]
    classes = tuple(_class_of(tag) for tag in choices)
    # Annotations from before an alias was given hold the value; a class's own name goes first.
    names = {tag.get("value", ""): _class_of(tag) for tag in choices} | {name: name for name in classes}
    used = f'<Choices name="{control.get("name", "")}">'
    notes = tuple(f'<{tag.tag} name="{tag.get("name", "")}"> is not used: {used} is' for tag in others)
    return LabelSpace(
        image_key=images[target].get("value", "")[1:],
        control=control.get("name", ""),
        to_name=target,
        classes=classes,
        names=names,
        settings={
            key[len(SETTING_PREFIX) :]: value
            for key, value in control.attrib.items()
            if key.startswith(SETTING_PREFIX)
        },
        notes=notes,
    )


def queue_config(label_config: str) -> str:
    """The labeling config with a line above it that shows each task's reason, unless it shows it already.

    The line's tag has no name, so Label Studio does not ask for the field in every task.
    """
    root = _parse(label_config)
    if any(f"${REASON_FIELD}" in value for tag in root.iter() for value in tag.attrib.values()):
        return label_config
    # Around it rather than into it: the administrator's own layout and comments stay as they are.
    body = re.sub(r"^\s*<\?xml.*?\?>\s*", "", label_config, flags=re.DOTALL)
    return f'<View><Header value="${REASON_FIELD}" size="5"/>{body}</View>'


def _parse(label_config: str) -> ElementTree.Element:
    if re.search(r"<!(DOCTYPE|ENTITY)", label_config, re.IGNORECASE):
        # Nothing in a labeling config needs them, and entities are how XML is made to bite.
        raise UnsupportedLabelConfig("the labeling config declares a document type or entities: remove them")
    try:
        return ElementTree.fromstring(label_config.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise UnsupportedLabelConfig(
            f"the labeling config is no valid XML ({error}); {_SUPPORTED}"
        ) from error


def _is(tag: ElementTree.Element, name: str) -> bool:
    """Whether a tag has this name; Label Studio takes names in any case."""
    return isinstance(tag.tag, str) and tag.tag.lower() == name.lower()


def _class_of(choice: ElementTree.Element) -> str:
    """What a result holds for a choice."""
    alias = choice.get("alias")
    return alias if alias else choice.get("value", "")
