"""The sources of a project's settings, laid over each other."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cdsel_backend.settings.project import WHOLE_NUMBER, ProjectSettings, environment_variable
from cdsel_backend.settings.server import allowed_weights
from cdsel_backend.settings.weights import weights_refusal

LONGEST_REASON = 600  # letters; a value may be a page of text
_ACCOUNTS = 'write each account with how many images it gets: {"ann@example.org": 100}'
_UNREAD = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), WHOLE_NUMBER),
    **dict.fromkeys(("float_parsing", "float_type"), "write a number alone, with a point: 0.5"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "write true or false"),
    "string_too_short": "write a name",
    "string_type": 'write a text in quotation marks, such as "patient"',
    "string_unicode": "it holds a character that no text has (half of a pair)",
    "list_type": 'write a list of names, such as ["site", "age"]',
    "dict_type": _ACCOUNTS,
    "literal_error": "write {expected}",
    "less_than_equal": "write at most {le}",
    "less_than": "write less than {lt}",
    "greater_than_equal": "write at least {ge}",
    "greater_than": "write more than {gt}",
}
_BLANKS = str.maketrans({"\u00a0": " ", "\u200b": None, "\ufeff": None})  # as pasted from a text or a page
_CURLY = ("“", "”", "„", "‘", "’")

LAYERS = ("environment", "labeling config", "extra parameters", "dashboard")


@dataclass(frozen=True)
class Refusal:
    """A setting that is refused, or none at all: which layer says it, its name and value, and why.

    `near`: the name that it may have been meant to be. `stays`: the layer's former value, which stays in force.
    """

    layer: str
    name: str
    value: object
    known: bool = True
    reason: str = ""
    near: str | None = None
    stays: object = None


@dataclass(frozen=True)
class Resolved:
    """The settings in force, which layer each value came from, and what a layer says that is refused now."""

    settings: ProjectSettings
    sources: Mapping[str, str]
    refused: tuple[Refusal, ...]
    below: Mapping[str, Overruled]
    """Setting -> what the next source says of it, where that is something else than what is in force."""


@dataclass(frozen=True)
class Overruled:
    """A value that a source names and another one overrules."""

    layer: str
    value: object


def parse_layer(raw: object) -> dict[str, Any]:
    """Read what an admin typed as extra parameters: JSON text, a mapping, or nothing.

    Raises:
        ValueError: the text is no JSON object; the message says where.
    """
    text = raw.translate(_BLANKS).strip() if isinstance(raw, str) else None
    if raw is None or text == "":
        return {}
    if text is not None:
        try:
            raw = json.loads(text, object_pairs_hook=_each_once)
        except json.JSONDecodeError as fault:
            if '"' not in text and any(mark in text for mark in ("'", *_CURLY)):
                raise ValueError(
                    "the extra parameters are no valid JSON: write straight double quotation marks around names, as in "
                    '{"budget": 200, "round_size": 20}'
                ) from None
            raise ValueError(
                f"the extra parameters are no valid JSON ({fault.msg} at line {fault.lineno}, column {fault.colno}); "
                'write for example {"budget": 200, "round_size": 20}'
            ) from None
        except (ValueError, RecursionError) as fault:
            raise ValueError(f"the extra parameters cannot be used: {fault}") from None
        if raw is None:
            return {}
    if not isinstance(raw, Mapping):
        raise ValueError(
            f'the extra parameters must be a JSON object such as {{"budget": 200}}, not {type(raw).__name__}'
        )
    return dict(raw)


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which `json` would silently keep the last of two equal names."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"they name {name!r} more than once; keep one of them")
        found[name] = value
    return found


def accept(
    raw: Mapping[str, Any], previous: Mapping[str, Any], *, layer: str
) -> tuple[dict[str, Any], list[Refusal]]:
    """Validate one layer key by key; a bad value leaves the layer's previous good one in place.

    Returns:
        What the layer now says, and what of it is refused.
    """
    accepted: dict[str, Any] = {}
    refused: list[Refusal] = []
    for name, value in raw.items():
        if name not in ProjectSettings.model_fields:
            near = get_close_matches(name.lower().replace("-", "_"), ProjectSettings.model_fields, n=1)
            refused.append(Refusal(layer, name, value, known=False, near=next(iter(near), None)))
            continue
        try:
            checked = ProjectSettings.model_validate({name: value})
        except ValidationError as fault:
            reason = "; ".join(dict.fromkeys(map(_reason, fault.errors())))
        else:  # what the environment says is the server's own
            found = None if layer == "environment" else weights_refusal(name, value, allowed_weights())
            reason = found or ""
        if not reason:
            accepted[name] = checked.model_dump(mode="json")[name]
            continue
        refused.append(Refusal(layer, name, value, reason=reason, stays=previous.get(name)))
        if name in previous:
            accepted[name] = previous[name]
    return accepted, refused


def _reason(error: ErrorDetails) -> str:
    """What is wrong with a value, as a sentence."""
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in _UNREAD:
        message = _UNREAD[error["type"]]
        for name, limit in (error.get("ctx") or {}).items():
            message = message.replace(f"{{{name}}}", f"{limit:g}" if isinstance(limit, float) else str(limit))
    part = error["loc"][-1] if len(error["loc"]) > 1 else None  # as one account of several
    message = f"{part}: {message}" if isinstance(part, str) else message
    return message if len(message) <= LONGEST_REASON else f"{message[:LONGEST_REASON]} …"


def resolve(layers: Mapping[str, Mapping[str, Any]]) -> Resolved:
    """Lay the accepted layers over each other, in the order of `LAYERS`.

    A value may have been right when it was accepted and be wrong now: a strategy whose extra was uninstalled. It is
    left out and named, so that the project goes on.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(ProjectSettings.model_fields, "default")
    refused: list[Refusal] = []
    below: dict[str, Overruled] = {}
    for layer in LAYERS:
        accepted, faults = accept(layers.get(layer, {}), {}, layer=layer)
        refused += faults
        for name, value in accepted.items():
            below.pop(name, None)
            if name in values and values[name] != value:
                below[name] = Overruled(sources[name], values[name])
            values[name] = value
            sources[name] = layer
    return Resolved(ProjectSettings.model_validate(values), sources, tuple(refused), below)


def resolve_project(layers: Mapping[str, Mapping[str, Any]]) -> Resolved:
    """Resolve a project's own layers over what the environment says."""
    return resolve({"environment": environment_layer()[0], **layers})


def environment_layer(environ: Mapping[str, str] = os.environ) -> tuple[dict[str, Any], list[Refusal]]:
    """The project settings that the environment names, as `CDSEL_BUDGET=200`, and which of them are refused."""
    named = {
        name: environ[key]
        for name in ProjectSettings.model_fields
        if environ.get(key := environment_variable(name), "").strip()  # compose files set what is empty, too
    }
    return accept(named, {}, layer="environment")
