"""Fuzzing: whatever is sent, the answer is a sentence and never a traceback.

`pytest tests/reliability -k security_fuzz -m slow` sends 10,000 inputs to each route; the ordinary run sends a few.
"""

from __future__ import annotations

import copy
import json
import random
import string
from typing import Any

import pytest
from world import POOL, World

from cdsel_backend.server.app import create_app
from cdsel_backend.settings import ProjectSettings

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="label" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices></View>'
)
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**400, -(10**30), 1.5, 1e308, -0.0),
    *("", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "é" * 50, "\u202e", "\ufeff", "１２", "NaN", "null"),
    *(
        "9" * 5000,
        "x" * 100_000,
        "1.17",
        "01",
        "1e3",
        "-1",
        "0x10",
        "12.",
        ".5",
        "1.2.3",
        "'; DROP TABLE events;--",
    ),
    *("<script>alert(1)</script>", "{{7*7}}", "${x}", "../../etc/passwd", "hf-hub:evil/model", "/etc/passwd"),
    *([], {}, [[]], [{}], [None], {"": {}}, {"id": []}, [1] * 500, {"a": {"b": {"c": [{"d": 1}]}}}),
)
RAW = (
    b"",
    b"{",
    b"null",
    b"NaN",
    b'{"action": NaN}',
    b'{"action": 1e999}',
    b"\xff\xfe",
    b'"\\ud800"',
    b'{"project": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"action": "X", "action": "Y"}',
)
EVENT = {
    "action": "ANNOTATION_CREATED",
    "project": {"id": POOL},
    "task": {"id": 1},
    "annotation": {"id": 2, "task": 1},
}
SETUP = {
    "project": f"{POOL}.17",
    "schema": CONFIG,
    "hostname": "http://127.0.0.1:1",
    "extra_params": '{"budget": 3}',
}
PREDICT = {
    "project": f"{POOL}.17",
    "tasks": [{"id": 100, "data": {"image": "/x", "cdsel_item": 101}}],
    "params": {},
}


class Fuzzer:
    """Makes inputs from a seed: a valid one with something in it replaced, or bytes that are none."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def value(self) -> Any:
        kind = self.draw.random()
        if kind < 0.7:
            return copy.deepcopy(self.draw.choice(NASTY))  # it may be changed in its turn
        if kind < 0.85:
            return "".join(
                self.draw.choice(string.printable + "\0é\ud83d") for _ in range(self.draw.randrange(40))
            )
        return self.nested(self.draw.choice((3, 30, 300, 900)))

    def nested(self, depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value] if self.draw.random() < 0.5 else {"a": value}
        return value

    def mutated(self, body: Any) -> Any:
        """A copy in which one or two values, or names, are replaced."""
        body = json.loads(json.dumps(body))
        for _ in range(self.draw.choice((1, 1, 2))):
            holder, key = self.spot(body)
            if isinstance(holder, dict) and self.draw.random() < 0.2:
                holder[self.draw.choice(("id", "task", "\0", "x" * 300, "cdsel_item"))] = holder.pop(
                    key, None
                )
            else:
                holder[key] = self.value()
        return body

    def spot(self, body: Any) -> tuple[Any, Any]:
        holder, key = body, None
        while isinstance(holder, (dict, list)) and holder:
            key = self.draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if not isinstance(holder[key], (dict, list)) or not holder[key] or self.draw.random() < 0.3:
                return holder, key
            holder = holder[key]
        return body, next(iter(body), "a") if isinstance(body, dict) else 0

    def sent(self, body: Any) -> bytes:
        if self.draw.random() < 0.15:
            return self.draw.choice(RAW)
        text = json.dumps(self.mutated(body)).encode()
        if self.draw.random() < 0.1:
            at = self.draw.randrange(len(text))
            text = text[:at] + bytes([self.draw.randrange(256)]) + text[at + 1 :]
        return text

    def config(self) -> str:
        """A labeling config with something broken in it."""
        text = CONFIG
        for _ in range(self.draw.choice((1, 2, 5))):
            at = self.draw.randrange(len(text))
            piece = self.draw.choice(
                ("<", ">", '"', "&", "&#0;", "\0", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "\ud800")
            )
            text = text[:at] + piece + text[at + self.draw.randrange(3) :]
        return self.draw.choice((text, "<View>" * 3000, text * 20))

    def text(self) -> str:
        value = self.value()
        text = value if isinstance(value, str) else json.dumps(value)
        return text.encode("utf-8", "replace").decode()[:5000]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app on a project of its own, with a champion that answers."""
    world = World(tmp_path_factory.mktemp("fuzz"))
    assert world.round()
    app = create_app(world.server, world.store)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    yield app
    world.store.close()


def reached(answers: dict[int, int], *wanted: int) -> None:
    assert sum(answers.get(code, 0) for code in wanted), f"nothing was tested: {answers}"


def fuzz(app, count, send) -> dict[int, int]:
    answers: dict[int, int] = {}
    for seed in range(count):
        answer = send(Fuzzer(seed))
        assert answer.status_code < 500, f"seed {seed}: {answer.status_code} {answer.text[:300]}"
        if answer.status_code >= 400:
            assert answer.text.strip(), f"seed {seed}: {answer.status_code} without a sentence"
        answers[answer.status_code] = answers.get(answer.status_code, 0) + 1
    return answers


AMOUNTS = [pytest.param(120, id="few"), pytest.param(10_000, id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", AMOUNTS)
@pytest.mark.parametrize(("route", "body"), [("/webhook", EVENT), ("/setup", SETUP), ("/predict", PREDICT)])
def test_the_protocol_answers_every_body(app, route, body, count):
    client = app.test_client()
    answers = fuzz(
        app, count, lambda fuzzer: client.post(route, data=fuzzer.sent(body), content_type="application/json")
    )
    reached(answers, 200, 201, 202)
    reached(answers, 400)


@pytest.mark.parametrize("count", AMOUNTS)
def test_a_labeling_config_is_taken_or_refused_in_words(app, count):
    client = app.test_client()
    reached(
        fuzz(app, count, lambda fuzzer: client.post("/setup", json={**SETUP, "schema": fuzzer.config()})), 422
    )


@pytest.mark.parametrize("count", AMOUNTS)
def test_settings_are_taken_or_refused_in_words(app, count):
    client = app.test_client()
    token = csrf(client)
    names = list(ProjectSettings.model_fields)

    def send(fuzzer):
        name = fuzzer.draw.choice(names)
        form = {
            "csrf_token": token,
            "fields": [name],
            name: fuzzer.text(),
            "mode": fuzzer.draw.choice(("", "auto")),
        }
        return client.post(f"/projects/{POOL}/settings", data=form)

    reached(fuzz(app, count, send), 302, 303)


@pytest.mark.parametrize("count", AMOUNTS)
def test_forms_and_addresses_are_answered(app, count):
    client = app.test_client()
    token = csrf(client)
    posts = ("settings/give-back", "undo", "requests", "models/promote", "models/rollback")

    def send(fuzzer):
        number = fuzzer.draw.choice((str(POOL), "0", "1", "9" * 5000, str(2**31), str(2**63), "01", "١"))
        if fuzzer.draw.random() < 0.5:
            path = fuzzer.draw.choice(
                ("", "/queue", "/confounders", "/map", "/models", "/settings", "/activity")
            )
            query = {key: fuzzer.text()[:500] for key in ("page", "round", "state", "variable")}
            return client.get(f"/projects/{number}{path}", query_string=query)
        form = {"csrf_token": token, **{key: fuzzer.text() for key in ("name", "action", "version", "back")}}
        return client.post(f"/projects/{number}/{fuzzer.draw.choice(posts)}", data=form)

    reached(fuzz(app, count, send), 400, 404)


def csrf(client) -> str:
    client.get(f"/projects/{POOL}/settings")
    with client.session_transaction() as session:
        return session["csrf"]
