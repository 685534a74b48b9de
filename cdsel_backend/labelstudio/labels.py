"""Labeling config -> label space, and the labeling config of the queue.

Supported on an `<Image>`: a single choice, a multiple choice, and regions with labels. `space.py` says what their
results mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree

from cdsel_backend.labelstudio.space import LabelSpace, UnknownLabel

__all__ = [
    "REASON_FIELD",
    "LabelSpace",
    "UnknownLabel",
    "UnsupportedLabelConfig",
    "parse_label_space",
    "queue_config",
]

REASON_FIELD = "cdsel_reason"
SETTING_PREFIX = "cdsel_"
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
"""Controls whose regions carry labels; `<Labels>` goes with `<Rectangle>` and the like."""

_SUPPORTED = (
    'supported is one <Image value="$..."> with a <Choices choice="single">, a <Choices choice="multiple"> or labels '
    "for regions such as <RectangleLabels> that point to it, for example "
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="benign"/><Choice value="malignant"/></Choices></View>'
)

_Answer = Literal["single", "multiple", "regions"]
_ORDER: tuple[_Answer, ...] = ("single", "multiple", "regions")


class UnsupportedLabelConfig(ValueError):
    """A labeling config without an image and a choice or regions on it; says what was found and what is due."""


def parse_label_space(label_config: str) -> LabelSpace:
    """Read the label space from a labeling config.

    With several controls on an image, one that carries a `cdsel_` attribute is used: that is how an administrator
    chooses. Else the first single choice, or the first multiple choice, or the first regions. `notes` names the others.

    Raises:
        UnsupportedLabelConfig: no XML, no image, no control of use on an image, or one without a list of classes.
    """
    root = _parse(label_config)
    images = {tag.get("name", ""): tag for tag in root.iter() if _is(tag, "Image")}
    controls = [tag for tag in root.iter() if tag.get("toName")]
    if not images:
        objects = sorted({str(tag.tag) for tag in root.iter() if (tag.get("value") or "").startswith("$")})
        found = f"it shows {', '.join(objects)}" if objects else "it shows nothing"
        raise UnsupportedLabelConfig(f"the labeling config has no <Image>: {found}; {_SUPPORTED}")
    chosen = [control for control in controls if _settings(control)]
    judged = [(control, _refusal(control, images)) for control in chosen or controls]
    fit = [control for control, refusal in judged if refusal is None]
    if fit:
        used = min(fit, key=lambda control: 0 if chosen else _ORDER.index(_answer(control) or "regions"))
        return _space(used, images, [control for control in controls if control is not used])
    found = "; ".join(refusal for _, refusal in judged if refusal) or "it has no control tag"
    raise UnsupportedLabelConfig(f"the labeling config cannot be used: {found}; {_SUPPORTED}")


def _answer(control: ElementTree.Element) -> _Answer | None:
    """What a control asks for; None where it is none that we know."""
    if any(_is(control, name) for name in REGIONS):
        return "regions"
    if not _is(control, "Choices"):
        return None
    choice = control.get("choice", "single")
    return "single" if choice.startswith("single") else "multiple" if choice == "multiple" else None


def _refusal(control: ElementTree.Element, images: Mapping[str, ElementTree.Element]) -> str | None:
    """Why a control cannot be used, in words; None when it can."""
    name, answer = _tag(control), _answer(control)
    if answer is None:
        choice = f' choice="{control.get("choice")}"' if _is(control, "Choices") else ""
        return f"{name}{choice} is no single choice, multiple choice or labels for regions"
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
    choices = _listed(control)
    if any(_is(inner, "Choice") for tag in choices for inner in tag):
        return f"{name} has choices within choices"
    what = "Label" if answer == "regions" else "Choice"
    if not all(tag.get("value") for tag in choices):
        return f"{name} has a <{what}> without a value"
    if not choices and control.get("value"):
        return f"{name} takes its classes from the tasks ({control.get('value')}) instead of listing them"
    classes = [_class_of(tag) for tag in choices]
    if len(set(classes)) < max(2 if answer == "single" else 1, len(classes)):
        least = "two choices" if answer == "single" else f"one <{what}>"
        return f"{name} needs at least {least}, all different, and has {', '.join(classes) or 'none'}"
    return None


def _space(
    control: ElementTree.Element,
    images: Mapping[str, ElementTree.Element],
    others: Sequence[ElementTree.Element],
) -> LabelSpace:
    target, answer = control.get("toName", ""), _answer(control)
    choices = _listed(control)
    classes = tuple(_class_of(tag) for tag in choices)
    # Annotations from before an alias was given hold the value; a class's own name goes first.
    names = {tag.get("value", ""): _class_of(tag) for tag in choices} | {name: name for name in classes}
    notes = tuple(
        f"{_tag(tag)} is not used: {_tag(control)} is"
        + (
            ""
            if _refusal(tag, images)
            else f' (cdsel_budget="200" or the like on {_tag(tag)} alone changes that)'
        )
        for tag in others
    )
    return LabelSpace(
        image_key=images[target].get("value", "")[1:],
        control=control.get("name", ""),
        to_name=target,
        classes=classes,
        names=names,
        settings=_settings(control),
        notes=notes,
        kind="single" if answer == "single" else "presence",
        value_key=str(control.tag).lower(),
        required=control.get("required", "false").lower() == "true",
    )


def _settings(control: ElementTree.Element) -> dict[str, str]:
    """The `cdsel_*` attributes of a control, without the prefix."""
    return {
        key[len(SETTING_PREFIX) :]: value
        for key, value in control.attrib.items()
        if key.startswith(SETTING_PREFIX)
    }


def _listed(control: ElementTree.Element) -> list[ElementTree.Element]:
    """The classes that a control lists."""
    return [tag for tag in control.iter() if _is(tag, "Choice") or (tag is not control and _is(tag, "Label"))]


def _tag(control: ElementTree.Element) -> str:
    return f'<{control.tag} name="{control.get("name", "")}">'


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
