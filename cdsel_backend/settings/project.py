"""What an admin may set for one project."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from cdsel_backend.selection import SelectionOptions, describe

PREFIX = "CDSEL_"  # of the environment's variables


def environment_variable(name: str) -> str:
    """The variable that gives a setting's default for all projects."""
    return f"{PREFIX}{name.upper()}"


def names_in(text: str) -> list[str]:
    """The parts of a text with commas, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _split_commas(value: object) -> object:
    """Let `"a, b"` and `'["a", "b"]'` stand for `["a", "b"]`, as XML attributes and the environment write lists."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        with suppress(ValueError):
            return json.loads(value)
    return names_in(value) if isinstance(value, str) else value


def _auto_or_names(value: object) -> object:
    names = _split_commas(value)
    alone = (
        names[0].strip().lower()
        if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str)
        else ""
    )
    return "auto" if alone == "auto" else [] if alone in _NOTHING and alone else names


def _quotas(value: object) -> object:
    """Let `"a@x.org: 100, b@x.org: 50"` stand for a mapping; e-mail addresses are compared in lower case."""
    if isinstance(value, str):
        if value.strip().startswith("{"):
            value = json.loads(value)
        else:
            parts = [part.rpartition(":") for part in value.split(",") if part.strip()]
            quotas = [(name, quota.strip()) for name, _, quota in parts]
            value = dict(quotas) if len(dict(quotas)) == len(quotas) else {"": quotas}
    if not isinstance(value, Mapping):
        return value
    named = {str(name).strip().lower(): quota for name, quota in value.items()}
    strange = [name for name in named if not _ADDRESS.fullmatch(name)]
    if strange or len(named) < len(value):
        raise ValueError('name each account once, by its e-mail address: {"ann@example.org": 100}')
    return named


def _known_strategy(name: str) -> str:
    name = name.lower()
    describe(name)  # raises for one that there is not
    return name


def _refuse_no_text(value: object) -> None:
    """Raise ValueError where a value holds what neither a page nor a database can write."""
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise ValueError("it holds a character that no text has (NUL, or half of a pair)")
    for part in (
        value.items() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    ):
        _refuse_no_text(part)


WHOLE_NUMBER = "write a whole number alone, such as 200"
_ADDRESS = re.compile(r"[^@\s:,]+@[^@\s:,]+")
_NOTHING = ("", "none", "null")  # how people write that a setting that may be left out is not set

Names = Annotated[list[str], BeforeValidator(_split_commas)]
Quotas = Annotated[dict[str, Annotated[int, Field(ge=0, le=10_000_000)]], BeforeValidator(_quotas)]


class ProjectSettings(BaseModel):
    """What an admin may set for one project."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    budget: int = Field(200, ge=0, le=10_000_000)
    """How many images may be labelled in all; pushed images never exceed it."""
    budget_hours: float | None = Field(None, gt=0, le=1_000_000)
    """How many hours of annotators' time labelling may take in all; none: any. The measured time of an image makes \
images of them, and the smaller of both budgets holds; until five times are measured, that is one round."""
    round_size: int = Field(20, ge=1, le=100_000)
    """How many images one round pushes to the annotators."""
    refill_at: float = Field(0.5, ge=0, le=1)
    """The share of a round that is still open when the next training starts and the next round is chosen, so that \
annotators never meet an empty queue; 0: once the round is labelled."""
    retrain_every: int = Field(20, ge=1, le=1_000_000)
    """New or changed labels that start a training before the round is complete."""
    confounders: Annotated[Literal["auto"] | list[str], BeforeValidator(_auto_or_names)] = "auto"
    """`auto`, or the names of the metadata variables to treat as confounders."""
    ignore: Names = []
    """Metadata variables to leave alone, such as consequences of the label."""
    group: str | None = None
    """The metadata variable that names the patient or lesion; its images stay on one side of a split."""
    learn: str | None = None
    """The name of the control of the labeling config whose answers are learned; none: the labeling config decides."""
    ignore_classes: Names = []
    """Classes such as `cannot tell` that annotators may choose and that are not learned. An image with such an answer \
alone has no label and, as a skipped one, uses budget; beside other classes the answer is passed over."""
    strategy: Annotated[str, AfterValidator(_known_strategy)] = "confounder_aware"
    """How images are chosen; `cdsel strategies` lists the names."""
    random_share: float = Field(SelectionOptions.random_share, ge=0, le=1)
    """The share of each round that `confounder_aware` draws at random from all images, whatever the caps below, to \
tell what the pool holds."""
    group_cap: int | None = Field(SelectionOptions.group_cap, ge=1, le=10_000_000)
    """At most this many images of one patient or lesion (`group`) are chosen or labelled, the random share apart; \
none: no limit."""
    near_duplicate: float | None = Field(SelectionOptions.near_duplicate, gt=0, le=1)
    """An image at least this similar to one chosen or labelled is left out, the random share apart: the cosine, up to \
1, of the vectors that images are chosen by; none: all may come."""
    strength: float | None = Field(None, ge=0, le=1)
    """How far the model makes up for the confounder, from 0 (not at all) to 1 (wholly): robust to it, or accurate on \
more of the same; none: wholly."""
    training: Literal["auto", "head", "backbone"] = "auto"
    """`head`: learn from the backbone's vectors, in seconds. `backbone`: fine-tune its last stage, too, in minutes. \
`auto`: as `head`; with a GPU and 200 labels the fine-tune is tried, and kept unless it is worse on labels not seen."""
    backbone: str = Field("tf_efficientnet_lite0", min_length=1)
    """A timm model name; the default needs no model hub."""
    backbone_weights: str | None = None
    """A local checkpoint for the backbone, on the machine of the backend; none: pretrained ones."""
    features: Literal["depths", "last"] = "depths"
    """What is read of the backbone: `depths`, averages of several depths over the whole image and over its middle; \
`last`, its last layer. Another choice has all images embedded again; labels stay."""
    view: Literal["close", "fast"] = "close"
    """How large the backbone sees an image, always the whole of it: `close`, with twice the pixels it was trained on, \
in twice the time, where it can; `fast`, at its own size. Another choice has all images embedded again; labels stay."""
    delivery: Literal["queue_project", "in_place"] = "queue_project"
    """`queue_project`: a project of its own, in strict order. `in_place`: scores in the connected project."""
    annotators: Quotas = {}
    """Accounts of Label Studio (e-mail) with a queue each, and how many images each gets; none: one queue for all."""
    overlap: float = Field(0.0, ge=0, le=1)
    """The share of images that two annotators label, to measure their agreement."""
    preannotate: bool = True
    """Show the annotator the model's prediction on the images of the queue."""
    preannotate_from: float = Field(0.8, ge=0, le=1)
    """The least probability from which the model's answer is filled in for the annotator; below it she sees none."""
    show_reason: Literal["full", "neutral", "none"] = "neutral"
    """What an annotator reads of why an image was chosen: `full`; `neutral`, neither a confounder nor what the model \
thinks; or `none`. The dashboard always shows all of it. It holds for images pushed from then on."""
    mirror: bool = False
    """Copy the labels of the queue into the pool project as annotations there, marked as ours, and follow their \
changes; a task that a person annotated there is left alone. False: nothing more is copied, and what is there stays."""
    paused: bool = False
    """Push nothing more until this is false again; labels still come in."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Same pool, labels, settings and seed: same selection."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_people_type(cls, value: object, info: ValidationInfo) -> object:
        """Take blanks around a name away, and any case of a word to choose; true and false are no numbers."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("true and false are no value of it")
        _refuse_no_text(value)
        if not isinstance(value, str):
            return value
        value = value.strip()
        if int in (kind, *get_args(kind)) and "." in value:
            raise ValueError(WHOLE_NUMBER)  # 1.000 may be a thousand
        if type(None) in get_args(kind) and value.lower() in _NOTHING:
            return None
        return value.lower() if get_origin(kind) is Literal and value.lower() in get_args(kind) else value
