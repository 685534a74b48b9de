"""Sentences on settings: their values, where these come from, and what they lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdsel_backend.labels.pace import FEWEST_TIMES
from cdsel_backend.phrases import form, number_of
from cdsel_backend.settings import ProjectSettings, Refusal, environment_variable
from cdsel_backend.store import State

LONGEST_VALUE = 120  # letters of a value in a sentence
NAMES_SHOWN = 12  # of a list
_SETTINGS = ", ".join(ProjectSettings.model_fields)


def _brief(text: str) -> str:
    """A text, or its beginning."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} …"


def refused(refusal: Refusal) -> str:
    """That a setting is refused, why, and what is in force instead."""
    if not refusal.known:
        return refused_alone(refusal)
    stays = "the value below it" if refusal.stays is None else repr(refusal.stays)
    return f"{refused_alone(refusal)}; {stays} stays"


def refused_alone(refusal: Refusal) -> str:
    """That a setting is refused, and why."""
    if not refusal.known:
        hint = f"did you mean {refusal.near!r}?" if refusal.near else f"they are {_SETTINGS}"
        return f"{refusal.layer}: there is no setting {_brief(repr(refusal.name))} ({hint})"
    name = environment_variable(refusal.name) if refusal.layer == "environment" else refusal.name
    return f"{refusal.layer}: {name} = {_brief(repr(refusal.value))} is refused ({refusal.reason})"


_SOURCES = {
    "default": "the default",
    "environment": "the server's environment",
    "labeling config": "the labeling config in Label Studio",
    "extra parameters": "Label Studio",
    "dashboard": "this dashboard",
}


def source_name(source: str) -> str:
    """A source of a setting, as a person knows it."""
    return "Label Studio (Settings > Model)" if source == "extra parameters" else _SOURCES[source]


def value_text(value: object) -> str:
    """A setting's value as an admin would say it; of a long list, or a long text, the beginning."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return _names(value)
    if isinstance(value, dict):
        return _names(quotas(value))
    return _brief(str(value))


def quotas(value: Mapping[str, object]) -> list[str]:
    """Quotas as an admin types them."""
    return [f"{name}: {amount}" for name, amount in value.items()]


def _names(names: Sequence[object]) -> str:
    text = ", ".join(_brief(str(name)) for name in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{text} and {more:,} more" if more > 0 else text or "none"


def overruled(state: State, name: str) -> str | None:
    """What another source says of a setting than the one in force, as in "15, set here; Label Studio says 80"."""
    below = state.resolved.below.get(name)
    if below is None:
        return None
    source = state.resolved.sources[name]
    value = state.settings.model_dump(mode="json")[name]
    ours = "set here" if source == "dashboard" else f"from {_SOURCES[source]}"
    return f"{value_text(value)}, {ours}; {_SOURCES[below.layer]} says {value_text(below.value)}"


def lowering(state: State) -> str | None:
    """What becomes of the open images if the budget is lowered; None where none is open."""
    if not state.open:
        return None
    many = len(state.open) != 1
    return (
        f"With a budget below {state.used_images:,}, nothing more is pushed; the "
        f"{f'{len(state.open):,} ' if many else ''}open image{'s stay' if many else ' stays'} in the queue and can "
        "still be labelled."
    )


def budget_in_hours(state: State) -> str | None:
    """What a budget in hours comes to, as a sentence; None where none is set."""
    hours, every = state.settings.budget_hours, state.pace.every
    if hours is None:
        return None
    much = f"{hours:g} {form(hours, 'hour')}"
    if every is None:
        return (
            f"{much} of annotators' time. How many images that is follows from the first "
            f"{FEWEST_TIMES} annotations whose time Label Studio measures; until then it is one round."
        )
    allowed = state.pace.images_in(hours * 3600 / (1 + state.settings.overlap)) or 0
    seconds = every.seconds
    each = f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
    if allowed > state.settings.budget:
        smaller = f"the budget of {state.settings.budget:,} is smaller"
        return f"{much} would allow {number_of(allowed, 'image')} at {each} each; {smaller}."
    measured = f"the median of {number_of(every.count, 'annotation')}"
    images = f"{form(allowed, 'is', 'are')} {number_of(allowed, 'image')}"
    return f"{much} of annotators' time {images} at {each} each, {measured}."
