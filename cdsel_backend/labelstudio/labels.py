"""Labeling config -> label space, and the labeling config of the queue.

Supported on an `<Image>`: a single choice, a multiple choice, and regions with labels. `space.py` says what their
results mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal
from xml.etree import ElementTree

from cdsel_backend.labels import PRESENCE, SINGLE, LabelKind
from cdsel_backend.labelstudio.conditions import conditions_of
from cdsel_backend.labelstudio.fields import ImageField, UnresolvableField
from cdsel_backend.labelstudio.space import LabelSpace, UnknownLabel
from cdsel_backend.store import State

__all__ = [
    "REASON_FIELD",
    "LabelSpace",
    "UnknownLabel",
    "UnsupportedLabelConfig",
    "label_space",
    "parse_label_space",
    "queue_config",
    "space_of",
]

REASON_FIELD, PLACE_FIELD = "cdsel_reason", "cdsel_place"
LEARN = "learn"  # `cdsel_learn="true"` on a control: its answers are learned; "false" on a class: it is not
NO = ("false", "0", "no")
_SETTING = re.compile(r"cdsel[-_.:]?(.*)", re.IGNORECASE)
_PREFIX = re.compile(r"(\w+?)[-_.:]")
QUEUE_LINE = {
    PLACE_FIELD: f'<Header value="${PLACE_FIELD}" size="5" style="white-space: nowrap"/>',
    REASON_FIELD: f'<Header value="${REASON_FIELD}" size="5" style="font-weight: normal; font-size: 15px"/>',
}
"""What shows an annotator a field of the queue's tasks: its place, and why it was chosen."""
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

_CASED = {
    name.lower(): name
    for name in (
        *("name", "value", "toName", "choice", "alias", "required", "perRegion", "perItem"),
        *("valueList", "visibleWhen", "whenTagName", "whenChoiceValue", "whenLabelValue"),
    )
}
"""The attributes that are read here; Label Studio's editor takes them in any case."""

_Answer = Literal["single", "multiple", "regions"]
_KINDS: Mapping[_Answer, LabelKind] = {"single": SINGLE, "multiple": PRESENCE, "regions": PRESENCE}
"""The kind of label that a control asks for; of several controls, those of an earlier kind are used."""


class UnsupportedLabelConfig(ValueError):
    """A labeling config without an image and a choice or regions on it; says what was found and what is due."""


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
    root = _parse(label_config)
    repeated = {
        inner for tag in root.iter() if _is(tag, "Repeater") for inner in tag.iter() if inner is not tag
    }
    images = {tag.get("name", ""): tag for tag in root.iter() if _is(tag, "Image") and tag not in repeated}
    controls = [tag for tag in root.iter() if tag.get("toName") and tag not in repeated]
    if repeated and not (images and controls):
        raise UnsupportedLabelConfig(
            f"the labeling config asks its questions in a <Repeater>, for several images a task: {_SUPPORTED}"
        )
    if not images:
        objects = sorted({str(tag.tag) for tag in root.iter() if (tag.get("value") or "").startswith("$")})
        found = f"it shows {', '.join(objects)}" if objects else "it shows nothing"
        raise UnsupportedLabelConfig(f"the labeling config has no <Image>: {found}; {_SUPPORTED}")
    chosen = _chosen(root, controls, learn)
    judged = [(control, _refusal(control, images)) for control in chosen or controls]
    fit = [control for control, refusal in judged if refusal is None]
    if fit:
        used = min(fit, key=lambda control: 0 if chosen else [*_KINDS].index(_answer(control) or "regions"))
        return _space(root, used, images, [control for control in controls if control is not used])
    found = "; ".join(refusal for _, refusal in judged if refusal) or "it has no control tag"
    raise UnsupportedLabelConfig(f"the labeling config cannot be used: {found}; {_SUPPORTED}")


def label_space(label_config: str, learn: str | None, ignore: Sequence[str] = ()) -> LabelSpace:
    """As `parse_label_space`, without the classes to `ignore`; what names nothing of use is passed over."""
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
    except (UnsupportedLabelConfig, UnknownLabel) as fault:
        return str(fault)
    return None


def _chosen(
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
            f"it has {', '.join(by_name) or 'none'}; {_SUPPORTED}"
        )
    marked = [by_name[learn]] if learn is not None else []
    for tag in () if marked else root.iter():
        value = _own(tag).get(LEARN, "false").strip()
        if value.lower() in NO:
            continue
        wanted = by_name.get(value, tag if value.lower() in ("true", "1", "yes") else None)
        if wanted is None or wanted not in controls:
            raise UnsupportedLabelConfig(
                f'cdsel_learn="{value}" on {_tag(tag)} chooses no control: write cdsel_learn="true" on the control '
                f"whose answers are to be learned; the labeling config has {', '.join(by_name) or 'none'}; {_SUPPORTED}"
            )
        marked.append(wanted)
    return marked or [control for control in controls if _own(control).keys() - {LEARN}]


def _answer(control: ElementTree.Element) -> _Answer | None:
    """What a control asks for; None where it is none that we know."""
    if any(_is(control, name) for name in REGIONS):
        return "regions"
    if not _is(control, "Choices"):
        return None
    choice = control.get("choice", "single")
    return "single" if choice.startswith("single") else "multiple" if choice == "multiple" else None


def _refusal(control: ElementTree.Element, images: Mapping[str, ElementTree.Element]) -> str | None:
    """Why a control cannot be used, as a sentence; None when it can."""
    name, answer = _tag(control), _answer(control)
    if answer is None:
        choice = f' choice="{control.get("choice")}"' if _is(control, "Choices") else ""
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
    root: ElementTree.Element,
    control: ElementTree.Element,
    images: Mapping[str, ElementTree.Element],
    others: Sequence[ElementTree.Element],
) -> LabelSpace:
    target, answer = control.get("toName", ""), _answer(control) or "regions"
    choices = _listed(control)
    classes = tuple(_class_of(tag) for tag in choices)
    unlearned = [_class_of(tag) for tag in choices if _own(tag).get(LEARN, "").strip().lower() in NO]
    # Annotations from before an alias was given hold the value; a class's own name goes first.
    names = {tag.get("value", ""): _class_of(tag) for tag in choices} | {name: name for name in classes}
    settings, doubles = _settings(root, control)
    notes = doubles + tuple(
        f"{_tag(tag)} is not used: {_tag(control)} is"
        + ("" if _refusal(tag, images) else f' (cdsel_learn="true" on {_tag(tag)} alone changes that)')
        for tag in others
    )
    space = LabelSpace(
        image=ImageField.parse(images[target].get("value", "")),
        control=control.get("name", ""),
        to_name=target,
        classes=classes,
        names=names,
        settings=settings,
        notes=notes,
        kind=_KINDS[answer],
        value_key=str(control.tag).lower(),
        controls=frozenset(tag.get("name", "") for tag in (control, *others)),
        required=control.get("required", "false").lower() == "true",
        shown_when=conditions_of(root, control),
    )
    try:
        return space.without(unlearned)
    except UnknownLabel as fault:
        raise UnsupportedLabelConfig(str(fault).replace("ignore_classes", 'cdsel_learn="false"')) from fault


def _own(tag: ElementTree.Element) -> dict[str, str]:
    """The settings that a tag's own attributes name: {"budget": "200"} for `cdsel_budget="200"`.

    Label Studio takes attributes in any case, and XML writers put "-" where we put "_". One whose prefix is misspelt
    (`csdel_budget`) keeps it, so that it is named as no setting.
    """
    found = {}
    for key, value in tag.attrib.items():
        own, prefix = _SETTING.fullmatch(key), _PREFIX.match(key)
        if own:
            found[own[1].lower().replace("-", "_")] = value
        elif prefix and get_close_matches(prefix[1].lower(), ["cdsel"], cutoff=0.8):
            found[key.lower()] = value
    return found


def _settings(
    root: ElementTree.Element, control: ElementTree.Element
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The settings that any tag of the config names, `learn` apart, and what stands in it twice.

    Those on the control itself go first, then those that stand first in the config.
    """
    settings: dict[str, str] = {}
    doubles: list[str] = []
    for tag in (control, *root.iter()):
        for name, value in _own(tag).items():
            if name != LEARN and settings.setdefault(name, value) != value:
                doubles.append(f'cdsel_{name}="{value}" on {_tag(tag)} is not used: "{settings[name]}" is')
    return settings, tuple(doubles)


def _listed(control: ElementTree.Element) -> list[ElementTree.Element]:
    """The classes that a control lists."""
    return [tag for tag in control.iter() if _is(tag, "Choice") or (tag is not control and _is(tag, "Label"))]


def _tag(control: ElementTree.Element) -> str:
    name = control.get("name")
    return f'<{control.tag} name="{name}">' if name else f"<{control.tag}>"


def queue_config(label_config: str) -> str:
    """The labeling config with a line above it of each task's place in the queue and reason, unless it shows them.

    The line's tags have no name, so Label Studio does not ask for their fields in every task.
    """
    root = _parse(label_config)
    values = [value for tag in root.iter() for value in tag.attrib.values()]
    line = "".join(
        words for field, words in QUEUE_LINE.items() if not any(f"${field}" in value for value in values)
    )
    if not line:
        return label_config
    # Around it rather than into it: the administrator's own layout and comments stay as they are.
    body = re.sub(r"^\s*<\?xml.*?\?>\s*", "", label_config, flags=re.DOTALL)
    return f'<View><View style="display: flex; gap: 1em; align-items: baseline">{line}</View>{body}</View>'


def _parse(label_config: str) -> ElementTree.Element:
    if re.search(r"<!(DOCTYPE|ENTITY)", label_config, re.IGNORECASE):
        # Nothing in a labeling config needs them, and entities are how XML is made to bite.
        raise UnsupportedLabelConfig("the labeling config declares a document type or entities: remove them")
    try:
        root = ElementTree.fromstring(label_config.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise UnsupportedLabelConfig(
            f"the labeling config is no valid XML ({error}); {_SUPPORTED}"
        ) from error
    for tag in root.iter():  # Label Studio does not look at namespaces
        if isinstance(tag.tag, str):
            tag.tag = tag.tag.rpartition("}")[2]
        spelt = {_unspaced(key): value for key, value in tag.attrib.items()}
        tag.attrib = {_CASED.get(key.lower(), key): value for key, value in spelt.items()}
    return root


def _unspaced(key: str) -> str:
    """An attribute's name without its namespace; what is in ours keeps its prefix: `cdsel:budget`."""
    space, _, name = key.rpartition("}")
    return f"cdsel_{name}" if "cdsel" in space.lower() else name


def _is(tag: ElementTree.Element, name: str) -> bool:
    """Whether a tag has this name; Label Studio takes names in any case."""
    return isinstance(tag.tag, str) and tag.tag.lower() == name.lower()


def _class_of(choice: ElementTree.Element) -> str:
    """What a result holds for a choice."""
    alias = choice.get("alias")
    return alias if alias else choice.get("value", "")
