"""The tags of a labeling config, and the settings that their attributes hold."""

from __future__ import annotations

import re
from difflib import get_close_matches
from xml.etree import ElementTree

_CASED = {
    name.lower(): name
    for name in (
        *("name", "value", "toName", "choice", "alias", "required", "perRegion", "perItem"),
        *("valueList", "visibleWhen", "whenTagName", "whenChoiceValue", "whenLabelValue"),
    )
}
"""The attributes that are read here; Label Studio's editor takes them in any case."""
_SETTING = re.compile(r"cdsel[-_.:]?(.*)", re.IGNORECASE)
_PREFIX = re.compile(r"(\w+?)[-_.:]")
SUPPORTED = (
    'supported is one <Image value="$..."> with a <Choices choice="single">, a <Choices choice="multiple"> or labels '
    "for regions such as <RectangleLabels> that point to it, for example "
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="benign"/><Choice value="malignant"/></Choices></View>'
)


class UnsupportedLabelConfig(ValueError):
    """A labeling config without an image and a choice or regions on it; says what was found and what is due."""


def parse(label_config: str) -> ElementTree.Element:
    """The root of a labeling config, names of tags and attributes spelt as they are read here.

    Raises:
        UnsupportedLabelConfig: it is no XML, or XML with declarations.
    """
    if re.search(r"<!(DOCTYPE|ENTITY)", label_config, re.IGNORECASE):
        # Nothing in a labeling config needs them, and entities are how XML is made to bite.
        raise UnsupportedLabelConfig("the labeling config declares a document type or entities: remove them")
    try:
        root = ElementTree.fromstring(label_config.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise UnsupportedLabelConfig(f"the labeling config is no valid XML ({error}); {SUPPORTED}") from error
    for tag in root.iter():  # Label Studio does not look at namespaces
        if isinstance(tag.tag, str):
            tag.tag = tag.tag.rpartition("}")[2]
        spelt = {_unspaced(key): value for key, value in tag.attrib.items()}
        tag.attrib = {_CASED.get(key.lower(), key): value for key, value in spelt.items()}
    return root


def is_named(tag: ElementTree.Element, name: str) -> bool:
    """Whether a tag has this name; Label Studio takes names in any case."""
    return isinstance(tag.tag, str) and tag.tag.lower() == name.lower()


def settings_on(tag: ElementTree.Element) -> dict[str, str]:
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


def tag_text(tag: ElementTree.Element) -> str:
    """A tag as messages name it."""
    name = tag.get("name")
    return f'<{tag.tag} name="{name}">' if name else f"<{tag.tag}>"


def _unspaced(key: str) -> str:
    """An attribute's name without its namespace; what is in ours keeps its prefix: `cdsel:budget`."""
    space, _, name = key.rpartition("}")
    return f"cdsel_{name}" if "cdsel" in space.lower() else name
