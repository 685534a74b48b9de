"""The settings as a form: what it shows and offers, and how what it says is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from flask import Response, flash, render_template, request
from pydantic.fields import FieldInfo
from werkzeug.exceptions import BadRequest

from cdsel_backend.confounders import Report
from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.project.sentences.settings import (
    budget_in_hours,
    lowering,
    overruled,
    quotas,
    refused,
    value_text,
)
from cdsel_backend.selection import describe, strategies
from cdsel_backend.server.pages.blueprint import find, pages, read_state, status_of
from cdsel_backend.server.pages.changes import LAYER, back_to_page, change, value_in_force
from cdsel_backend.settings import ProjectSettings, accept, names_in
from cdsel_backend.store import State
from cdsel_backend.store.facts import ACCOUNTS_FACT

BASIC = (
    *("budget", "budget_hours", "round_size", "paused", "group", "confounders", "ignore", "ignore_classes"),
    *("annotators", "preannotate", "show_reason"),
)
"""Settings that most projects need; the others are folded."""
ACCOUNTS_SHOWN = 12  # that have no queue yet; any other is typed


@pages.get("/projects/<int:pool_project>/settings")
def settings(pool_project: int) -> str:
    """Every setting, its value, and where that came from."""
    return _settings_page(read_state(pool_project), {}, {})


@pages.post("/projects/<int:pool_project>/settings")
def change_settings(pool_project: int) -> tuple[str, int] | Response:
    """Set the settings that a form names under `fields`; all of them, or none where one is refused.

    What the form still says as its page showed it stays as it is: somebody may have changed it since, here in another
    tab or in Label Studio. Of a list both changes count.
    """
    state = read_state(pool_project)
    typed = {name: _typed(state, name) for name in request.form.getlist("fields")}
    accepted, refusals = accept(typed, {}, layer=LAYER)
    faults = {refusal.name: refusal.reason if refusal.known else refused(refusal) for refusal in refusals}
    if faults:
        return _settings_page(state, typed, faults), 422
    in_force, shown = state.settings.model_dump(mode="json"), _shown()
    left = {name for name, value in accepted.items() if name in shown and value == shown[name]}
    wanted = {
        name: _merged(shown[name], in_force[name], value) if name in shown else value
        for name, value in accepted.items()
        if name not in left
    }
    put = {name: value for name, value in wanted.items() if value != in_force[name]}
    for name in sorted(name for name in left if shown[name] != in_force[name]):
        flash(
            f"{_words(name).capitalize()} was changed meanwhile, to {value_text(in_force[name])}, and stays so."
        )
    if put:
        change(state, put=put)
        flash(
            "Saved: " + ", ".join(f"{_words(name)} {value_text(value)}" for name, value in put.items()) + "."
        )
    else:
        flash("Nothing was changed.")
    return back_to_page(pool_project)


@pages.post("/projects/<int:pool_project>/settings/give-back")
def give_back_setting(pool_project: int) -> Response:
    """Let a setting come from the layers below the dashboard again."""
    state = read_state(pool_project)
    name = request.form.get("name", "")
    if name not in state.project.layers.get(LAYER, {}):
        raise BadRequest(f"the dashboard does not set {name!r}")
    change(state, drop=[name])
    value, source = value_in_force(find(pool_project).layers, name)
    flash(f"{_words(name).capitalize()} is {value_text(value)} again, from: {source}.")
    return back_to_page(pool_project)


def _shown() -> Mapping[str, Any]:
    """The settings as the page of a form showed them; nothing where the form does not say so."""
    try:
        shown = json.loads(request.form.get("shown", "{}"))
    except (ValueError, RecursionError):
        return {}
    return shown if isinstance(shown, dict) else {}


def _merged(shown: Any, in_force: Any, typed: Any) -> Any:
    """The value to save: what was typed, and, of a list or of quotas, what others changed since the page showed it."""
    if all(isinstance(value, dict) for value in (shown, in_force, typed)):
        changed = {name: value for name, value in typed.items() if shown.get(name) != value}
        left = {name: value for name, value in in_force.items() if name in typed or name not in shown}
        return left | changed
    if all(isinstance(value, list) for value in (shown, in_force, typed)):
        kept = [value for value in in_force if value in typed or value not in shown]
        return kept + [value for value in typed if value not in shown and value not in kept]
    return typed


def _typed(state: State, name: str) -> Any:
    """What a form says of a setting, as `settings.accept` reads it."""
    if name not in ProjectSettings.model_fields:
        return request.form.get(name)
    kind = _kind_of(ProjectSettings.model_fields[name])
    if kind == "switch":
        return request.form.get(name) in ("on", "true")
    if name == "confounders":
        return "auto" if request.form.get("mode") == "auto" else request.form.getlist(name)
    if kind == "list":
        whole = {*_known(state, name), *state.settings.model_dump()[name]}  # a class may hold a comma
        texts = request.form.getlist(name)
        return [part for text in texts for part in ([text] if text in whole else names_in(text))]
    if name == "annotators" and "account" in request.form:
        pairs = zip(request.form.getlist("account"), request.form.getlist("quota"), strict=False)
        offered = {"", *state.settings.annotators, *_known(state, name), *(_shown().get(name) or ())}
        # These may be left without images; who was typed is meant to get some.
        return {
            who: quota
            for who, quota in ((who.strip(), quota.strip()) for who, quota in pairs)
            if quota or who not in offered
        }
    value = request.form.get(name, "").strip()
    return None if value == "" and kind in ("optional text", "optional number") else value


def _kind_of(field: FieldInfo) -> str:
    """What control a setting's type asks for."""
    parts = set(get_args(field.annotation)) or {field.annotation}
    if bool in parts:
        return "switch"
    if parts & {int, float}:
        return "optional number" if type(None) in parts else "number"
    if get_origin(field.annotation) is list:
        return "list"
    return "optional text" if type(None) in parts else "text"


def _choices(name: str, field: FieldInfo) -> dict[str, str]:
    """The values to choose from, each with the sentence that explains it, if it has one; none: it is typed."""
    if name == "strategy":
        return {strategy: describe(strategy) for strategy in strategies()}
    return dict.fromkeys(get_args(field.annotation), "") if get_origin(field.annotation) is Literal else {}


def _fields(state: State) -> list[str]:
    """The metadata fields that the newest report judges, or that `group` or `ignore` names already."""
    judged = [
        finding.variable
        for finding in Report.from_json(state.project.report).findings
        if not finding.from_file
    ]
    named = [state.settings.group, *state.settings.ignore]
    return sorted({name for name in (*judged, *named) if name})


def _known(state: State, name: str) -> list[str]:
    """What a setting may name, as far as that is known: fields, questions, classes or accounts."""
    if name in ("group", "ignore"):
        return _fields(state)
    if name == "annotators":
        accounts = filter(None, (state.store.fact(ACCOUNTS_FACT) or {}).values())
        return sorted({*accounts, *state.annotators} - state.settings.annotators.keys())
    if not state.project.label_config:
        return []
    space = space_of(state)
    if name == "learn":
        return list(space.learnable)
    if name == "ignore_classes":
        return [*space.classes, *space.ignored]
    return []


def _settings_page(state: State, typed: Mapping[str, Any], faults: Mapping[str, str]) -> str:
    values = state.settings.model_dump(mode="json")
    rows = []
    for name, field in ProjectSettings.model_fields.items():
        choices = _choices(name, field)
        rows.append(
            {
                "name": name,
                "kind": "choice" if choices else _kind_of(field),
                "choices": choices,
                "value": values[name],
                "typed": _text(typed.get(name, values[name])),
                "fault": faults.get(name),
                "source": state.resolved.sources[name],
                "ours": state.resolved.sources[name] == LAYER,
                "overruled": overruled(state, name),
                "below": state.resolved.below.get(name),
                "known": _known(state, name),
                "basic": name in BASIC,
                "help": field.description or "",
                "whole": int in (field.annotation, *get_args(field.annotation)),
            }
        )
    return render_template(
        "settings.html",
        status=status_of(state),
        rows=rows,
        shown={**values, **_shown()},
        faults=faults,
        lowering=lowering(state),
        in_hours=budget_in_hours(state),
        quotas=state.settings.annotators,
        accounts_shown=ACCOUNTS_SHOWN,
        audit=state.store.audit(state.project.id, limit=10),
    )


def _text(value: Any) -> Any:
    """A value as its control shows it: quotas as `ann@example.org: 100`, shares without needless digits."""
    if isinstance(value, float):
        return value_text(value)
    if isinstance(value, dict):
        return ", ".join(quotas(value))
    return value


def _words(name: str) -> str:
    return name.replace("_", " ")
