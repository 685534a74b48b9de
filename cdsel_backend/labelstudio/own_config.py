"""The labeling config of a queue: that of the pool project, or what somebody made of it in Label Studio.

What was written last is remembered. As long as a queue holds it, it follows the pool's. Another one is an
administrator's own: it is never overwritten. Where it asks the same question, answers are read as it puts it; where it
does not, that is a problem with a fix. It follows the pool's again once the pool's is pasted into it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import (
    LabelSpace,
    UnsupportedLabelConfig,
    label_space,
    parse_label_space,
)
from cdsel_backend.labelstudio.queue_config import queue_config
from cdsel_backend.phrases import form
from cdsel_backend.store import State, Store
from cdsel_backend.store.records import Json


@dataclass(frozen=True)
class Kept:
    """The labeling config of a queue, after it was made that of the pool or left as somebody changed it."""

    found: Json
    """The queue project as it was found."""
    space: LabelSpace
    """How answers given there are read."""
    problem: str | None = None
    """Why what somebody made of it does not serve, with the fix."""
    news: str | None = None
    """That what somebody made of it is kept."""


def remember_config(store: Store, studio: LabelStudio, queue: int, text: str) -> None:
    """Keep that this is what we wrote into a queue."""
    store.set_fact(_fact(studio, queue), [text, ""])


def ensure_config(
    studio: LabelStudio,
    state: State,
    found: Json,
    label_config: str,
    tell: Callable[[str], None],
    *,
    former: str = "",
) -> Kept:
    """Make a queue's labeling config that of the pool, unless somebody changed it in Label Studio.

    Where nothing chosen is an answer, it can be submitted then.

    Args:
        studio, state: the project's.
        found: the queue's project, as Label Studio has it now.
        label_config: the pool's.
        tell: called with the sentence that somebody's change is kept, once for each change.
        former: the pool's before, which the queue has where the store remembers nothing of it.
    """
    store = state.store
    settings, queue = state.settings, int(found["id"])
    fact, space = _fact(studio, queue), label_space(label_config, settings.learn, settings.ignore_classes)
    own, wanted = str(found["label_config"]), queue_config(label_config)
    written, announced = store.fact(fact) or (queue_config(former) if former else "", "")
    # The pool's own is ours, too: pasted there, it says that the queue shall follow again.
    follows = any(_same(own, text) for text in (wanted, written, label_config))
    kept = Kept(found, space) if follows else _keep(state, queue, found, label_config, space, written)
    change: Json = {} if not follows or _same(own, wanted) else {"label_config": wanted}
    empty = kept.space.empty_counts
    if change or (empty and found.get("enable_empty_annotation") is False):
        studio.update_project(queue, **change, enable_empty_annotation=empty)
    if follows and (written, announced) != (wanted, ""):
        remember_config(store, studio, queue, wanted)
    news = hashlib.blake2b("\n".join((own, wanted)).encode(), digest_size=8).hexdigest()
    if kept.news and announced != news:
        tell(kept.news)
        store.set_fact(fact, [written, news])
    return kept


def _keep(state: State, queue: int, found: Json, label_config: str, space: LabelSpace, written: str) -> Kept:
    """Judge the labeling config that somebody made of the one which was `written` into a queue: whether it serves, and
    what the admin should know of it."""
    pool, text = state.project.pool_project, str(found["label_config"])
    begin = f"the labeling config of the queue (project {queue}), which was changed in Label Studio,"
    fix = (
        f"under Settings > Labeling Interface of project {queue}, or paste the labeling config of the connected "
        f"project (project {pool}) there: the queue then follows it again"
    )
    wrong = another_question(text, space) or _other_classes(parse_label_space(text, space.control), space)
    if wrong is not None:
        problem = f"{begin} does not fit: {wrong}. Answers given there may not be learned. Correct it {fix}"
        return Kept(found, space, problem)
    own = parse_label_space(text, space.control)
    read = replace(
        space,
        names={**space.names, **own.names},
        controls=own.controls,
        required=own.required,
        shown_when=own.shown_when,
    )
    known = (_settings(label_config), _settings(written))
    unread = [
        f'cdsel_{name}="{value}"'
        for name, value in own.settings.items()
        if all(read_there.get(name) != value for read_there in known)
    ]
    problem = (
        f"{begin} says {', '.join(unread)}, and settings are not read there: write that into the labeling config of "
        f"the connected project (project {pool})"
    )
    news = (
        f"{begin} asks for the same classes and is kept; changes of the connected project's reach it no more. To "
        f"undo that, change it {fix}"
    )
    return Kept(found, read, problem if unread else None, news)


def another_question(text: str, space: LabelSpace) -> str | None:
    """Why a labeling config does not ask the question that is learned; None where it does."""
    try:
        own = parse_label_space(text, space.control)
    except UnsupportedLabelConfig:
        return f"it has no control named {space.control!r} that asks for one of several classes on an <Image>"
    if (own.kind, own.value_key) != (space.kind, space.value_key):
        return f"its {space.control!r} asks for another kind of answer"
    if own.image != space.image:
        return f"its <Image> shows {own.image.value} instead of {space.image.value}"
    if own.to_name != space.to_name:
        return f"its <Image> is named {own.to_name!r} instead of {space.to_name!r}"
    return None


def _other_classes(own: LabelSpace, space: LabelSpace) -> str | None:
    """In which classes a labeling config differs from what is learned; None where it has the same, in any order."""
    there, here = {*own.classes, *own.ignored}, {*space.classes, *space.ignored}
    parts = []
    if here - there:
        parts.append(f"it lacks {_named(sorted(here - there))}")
    if there - here:
        parts.append(f"it has {_named(sorted(there - here))}, which the connected project does not have")
    return " and ".join(parts) or None


def _named(classes: Sequence[str]) -> str:
    return f"the {form(len(classes), 'class', 'classes')} {', '.join(map(repr, classes))}"


def _settings(label_config: str) -> dict[str, str]:
    try:
        return dict(parse_label_space(label_config).settings)
    except UnsupportedLabelConfig:
        return {}


def _same(text: str, other: str) -> bool:
    """Whether two labeling configs are the same but for comments and blanks between tags."""
    return text == other or _canonical(text) == _canonical(other)


def _canonical(text: str) -> str:
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        return text
    try:
        return ElementTree.canonicalize(text.strip(), strip_text=True)
    except (ElementTree.ParseError, ValueError):
        return text


def _fact(studio: LabelStudio, queue: int) -> str:
    return f"labeling config written into project {queue} of {studio.url}"[:200]
