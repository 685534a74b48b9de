"""The controls of a labeling config: what one asks for, whether it can be used, and which are chosen to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree

from cdsel_backend.labels import PRESENCE, SINGLE, LabelKind
from cdsel_backend.labelstudio.fields import ImageField, UnresolvableField
from cdsel_backend.labelstudio.tags import SUPPORTED, UnsupportedLabelConfig, is_named, settings_on, tag_text

LEARN = "learn"  # `cdsel_learn="true"` on a control: its answers are learned; "false" on a class: it is not
NO = ("false", "0", "no")
REGIONS = (
    "RectangleLabels",
    "PolygonLabels",
    "BrushLabels",
    "KeyPointLabels",
    "EllipseLabels",
    "BitmaskLabels",
    "VectorLabels",
    "Labels",
)
"""Controls whose regions carry labels; `<Labels>` names those of `<Rectangle>`, say."""
Answer = Literal["single", "multiple", "regions"]
KINDS: Mapping[Answer, LabelKind] = {"single": SINGLE, "multiple": PRESENCE, "regions": PRESENCE}
"""The kind of label that a control asks for; of several controls, those of an earlier kind are used."""


def answer_of(control: ElementTree.Element) -> Answer | None:
    """What a control asks for; None where it is none that we know."""
    if any(is_named(control, name) for name in REGIONS):
        return "regions"
    if not is_named(control, "Choices"):
        return None
    choice = control.get("choice", "single")
    return "single" if choice.startswith("single") else "multiple" if choice == "multiple" else None


def classes_in(control: ElementTree.Element) -> list[ElementTree.Element]:
    """The classes that a control lists."""
    return [
        tag
        for tag in control.iter()
        if is_named(tag, "Choice") or (tag is not control and is_named(tag, "Label"))
    ]


def class_of(choice: ElementTree.Element) -> str:
    """What a result holds for a choice."""
    alias = choice.get("alias")
    return alias if alias else choice.get("value", "")


def refusal_of(control: ElementTree.Element, images: Mapping[str, ElementTree.Element]) -> str | None:
    """Why a control cannot be used, as a sentence; None when it can."""
    name, answer = tag_text(control), answer_of(control)
    if answer is None:
        choice = f' choice="{control.get("choice")}"' if is_named(control, "Choices") else ""
        return f"{name}{choice} is no single choice, multiple choice or labels for regions"
    if (
        control.get("perRegion", "false").lower() == "true"
        or control.get("perItem", "false").lower() == "true"
    ):
        return f"{name} asks for each region or item, not for the image"
    if not control.get("name"):
        return f"{name} has no name, which answers go by"
    target = control.get("toName", "")
    if target not in images:
        return f"{name} points to {target!r}, which is no <Image>"
    several = images[target].get("valueList")
    if several and not images[target].get("value"):
        return (
            f'the <Image name="{target}"> of {name} names no field with one picture (valueList="{several}" has several '
            'of a task), and an image of the pool needs a task of its own: import one a task, and write value="$image"'
        )
    try:
        ImageField.parse(images[target].get("value", ""))
    except UnresolvableField as fault:
        return f'the <Image name="{target}"> of {name} cannot be read: {fault}'
    choices = classes_in(control)
    if any(is_named(inner, "Choice") for tag in choices for inner in tag):
        return f"{name} has choices within choices"
    what = "Label" if answer == "regions" else "Choice"
    if not all(tag.get("value") for tag in choices):
        return f"{name} has a <{what}> without a value"
    if not choices and control.get("value"):
        return f"{name} takes its classes from the tasks ({control.get('value')}) instead of listing them"
    classes = [class_of(tag) for tag in choices]
    if len(set(classes)) < max(2 if answer == "single" else 1, len(classes)):
        least = "two choices" if answer == "single" else f"one <{what}>"
        return f"{name} needs at least {least}, all different, and has {', '.join(classes) or 'none'}"
    return None


def chosen_controls(
    root: ElementTree.Element, controls: Sequence[ElementTree.Element], learn: str | None
) -> list[ElementTree.Element]:
    """The controls that an administrator chose to learn from; none: the order of kinds decides.

    Raises:
        UnsupportedLabelConfig: what was chosen is no control.
    """
    by_name = {control.get("name", ""): control for control in controls}
    if learn is not None and learn not in by_name:
        raise UnsupportedLabelConfig(
            f"the setting learn names {learn!r}, which is no control of the labeling config; "
            f"it has {', '.join(by_name) or 'none'}; {SUPPORTED}"
        )
    marked = [by_name[learn]] if learn is not None else []
    for tag in () if marked else root.iter():
        value = settings_on(tag).get(LEARN, "false").strip()
        if value.lower() in NO:
            continue
        wanted = by_name.get(value, tag if value.lower() in ("true", "1", "yes") else None)
        if wanted is None or wanted not in controls:
            raise UnsupportedLabelConfig(
                f'cdsel_learn="{value}" on {tag_text(tag)} chooses no control: write cdsel_learn="true" on the control '
                f"whose answers are to be learned; the labeling config has {', '.join(by_name) or 'none'}; {SUPPORTED}"
            )
        marked.append(wanted)
    return marked or [control for control in controls if settings_on(control).keys() - {LEARN}]
