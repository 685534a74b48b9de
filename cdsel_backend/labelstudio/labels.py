"""Labeling config -> label space.

Supported on an `<Image>`: a single choice, a multiple choice, and regions with labels. `space.py` says what their
results mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from cdsel_backend.labelstudio.conditions import conditions_of
from cdsel_backend.labelstudio.controls import (
    KINDS,
    LEARN,
    NO,
    answer_of,
    chosen_controls,
    class_of,
    classes_in,
    refusal_of,
)
from cdsel_backend.labelstudio.fields import ImageField
from cdsel_backend.labelstudio.space import LabelSpace, UnknownLabel
from cdsel_backend.labelstudio.tags import (
    SUPPORTED,
    UnsupportedLabelConfig,
    is_named,
    parse,
    settings_on,
    tag_text,
)
from cdsel_backend.store import State

__all__ = [
    "LabelSpace",
    "UnknownLabel",
    "UnsupportedLabelConfig",
    "label_space",
    "parse_label_space",
    "space_of",
]


def parse_label_space(label_config: str, learn: str | None = None) -> LabelSpace:
    """Read the label space from a labeling config.

    With several controls on an image, `learn` or the attribute `cdsel_learn="true"` says whose answers are learned;
    else it is a control that carries another `cdsel_` attribute, or the first single choice, multiple choice or
    regions, in this order. `notes` names the others. Settings are read from `cdsel_` attributes of any tag.

    Args:
        label_config: the XML.
        learn: the name of the control to learn from; none: the labeling config decides.

    Raises:
        UnsupportedLabelConfig: no XML, no image, no control of use on an image, or one without a list of classes.
    """
    root = parse(label_config)
    repeated = {
        inner for tag in root.iter() if is_named(tag, "Repeater") for inner in tag.iter() if inner is not tag
    }
    images = {
        tag.get("name", ""): tag for tag in root.iter() if is_named(tag, "Image") and tag not in repeated
    }
    controls = [tag for tag in root.iter() if tag.get("toName") and tag not in repeated]
    if repeated and not (images and controls):
        raise UnsupportedLabelConfig(
            f"the labeling config asks its questions in a <Repeater>, for several images a task: {SUPPORTED}"
        )
    if not images:
        objects = sorted({str(tag.tag) for tag in root.iter() if (tag.get("value") or "").startswith("$")})
        found = f"it shows {', '.join(objects)}" if objects else "it shows nothing"
        raise UnsupportedLabelConfig(f"the labeling config has no <Image>: {found}; {SUPPORTED}")
    chosen = chosen_controls(root, controls, learn)
    judged = [(control, refusal_of(control, images)) for control in chosen or controls]
    fit = [control for control, refusal in judged if refusal is None]
    if fit:
        used = min(fit, key=lambda control: 0 if chosen else [*KINDS].index(answer_of(control) or "regions"))
        return _space(root, used, images, controls)
    found = "; ".join(refusal for _, refusal in judged if refusal) or "it has no control tag"
    raise UnsupportedLabelConfig(f"the labeling config cannot be used: {found}; {SUPPORTED}")


def label_space(label_config: str, learn: str | None, ignore: Sequence[str] = ()) -> LabelSpace:
    """The label space of a labeling config, without the classes to `ignore`.

    Where `learn` or `ignore` cannot be obeyed it is passed over; `settings_refusal` says why.

    Raises:
        UnsupportedLabelConfig: the labeling config cannot be used at all.
    """
    try:
        space = parse_label_space(label_config, learn)
    except UnsupportedLabelConfig:
        if learn is None:
            raise
        space = parse_label_space(label_config)
    try:
        return space.without(ignore)
    except UnknownLabel:
        return space


def space_of(state: State) -> LabelSpace:
    """The label space of a project as it stands."""
    return label_space(state.project.label_config, state.settings.learn, state.settings.ignore_classes)


def settings_refusal(state: State) -> str | None:
    """Why `learn` or `ignore_classes` cannot be obeyed, as a sentence; None where they can."""
    settings, label_config = state.settings, state.project.label_config
    if not label_config or (settings.learn is None and not settings.ignore_classes):
        return None
    try:
        parse_label_space(label_config, settings.learn).without(settings.ignore_classes)
    except UnknownLabel as fault:
        return str(fault)
    except UnsupportedLabelConfig as fault:
        return _refusal_of_learn(label_config, settings.learn) or str(fault)
    return None


def _refusal_of_learn(label_config: str, learn: str | None) -> str | None:
    """The sentence that the control which `learn` names cannot be learned; None where there is no such control."""
    try:
        space = parse_label_space(label_config)
    except UnsupportedLabelConfig:
        return None
    if learn not in space.controls.difference(space.learnable):
        return None
    return (
        f"learn: no model can be made of the answers to {learn}; set it to {' or '.join(space.learnable)}; until then "
        f"{space.control} is learned"
    )


def _space(
    root: ElementTree.Element,
    control: ElementTree.Element,
    images: Mapping[str, ElementTree.Element],
    controls: Sequence[ElementTree.Element],
) -> LabelSpace:
    """The label space of a control, given the images by name and all controls; the others are not used."""
    target, answer = control.get("toName", ""), answer_of(control) or "regions"
    choices = classes_in(control)
    classes = tuple(class_of(tag) for tag in choices)
    unlearned = [class_of(tag) for tag in choices if settings_on(tag).get(LEARN, "").strip().lower() in NO]
    # Annotations from before an alias was given hold the value; a class's own name goes first.
    names = {tag.get("value", ""): class_of(tag) for tag in choices} | {name: name for name in classes}
    settings, doubles = _settings(root, control)
    notes = doubles + tuple(
        f"{tag_text(tag)} is not used: {tag_text(control)} is"
        + ("" if refusal_of(tag, images) else f' (cdsel_learn="true" on {tag_text(tag)} alone changes that)')
        for tag in controls
        if tag is not control
    )
    space = LabelSpace(
        image=ImageField.parse(images[target].get("value", "")),
        control=control.get("name", ""),
        to_name=target,
        classes=classes,
        names=names,
        settings=settings,
        notes=notes,
        kind=KINDS[answer],
        value_key=str(control.tag).lower(),
        controls=frozenset(tag.get("name", "") for tag in controls),
        learnable=tuple(tag.get("name", "") for tag in controls if refusal_of(tag, images) is None),
        required=control.get("required", "false").lower() == "true",
        shown_when=conditions_of(root, control),
    )
    try:
        return space.without(unlearned)
    except UnknownLabel as fault:
        raise UnsupportedLabelConfig(str(fault).replace("ignore_classes", 'cdsel_learn="false"')) from fault


def _settings(
    root: ElementTree.Element, control: ElementTree.Element
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The settings that any tag of the config names, `learn` apart, and what stands in it twice.

    Those on the control itself go first, then those that stand first in the config.
    """
    settings: dict[str, str] = {}
    doubles: list[str] = []
    for tag in (control, *root.iter()):
        for name, value in settings_on(tag).items():
            if name != LEARN and settings.setdefault(name, value) != value:
                doubles.append(
                    f'cdsel_{name}="{value}" on {tag_text(tag)} is not used: "{settings[name]}" is'
                )
    return settings, tuple(doubles)
