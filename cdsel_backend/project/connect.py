"""Connecting a project: a call of /setup only says "look", and what Label Studio lists is what counts.

Anybody who reaches the port can send a /setup with any project number, address and settings. So the web server keeps
no more of it than the number and the host name; a thread beside it asks Label Studio which ML backends the project has,
and acts only where this backend is one of them. The settings come from there, too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cdsel_backend.labelstudio.client import (
    LabelStudio,
    LabelStudioError,
    LabelStudioUnreachable,
    RequestRefused,
    TokenRefused,
)
from cdsel_backend.labelstudio.health import ask_health
from cdsel_backend.labelstudio.home import PORTS
from cdsel_backend.labelstudio.labels import LabelSpace, UnsupportedLabelConfig, parse_label_space
from cdsel_backend.project.audit import audit_rows, moved
from cdsel_backend.project.identity import known_elsewhere, note_project
from cdsel_backend.project.sentences.settings import refused
from cdsel_backend.settings import ServerSettings, accept, parse_layer
from cdsel_backend.store import State, Store
from cdsel_backend.store.faults import sentence, trace
from cdsel_backend.store.problems import DISCONNECTED
from cdsel_backend.store.records import Json, Project
from cdsel_backend.store.setup_calls import SetupCall

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds for which a project is looked for: Label Studio calls /setup before it keeps the connection."""
SAVE_SECONDS = 15.0
"""Seconds for which a known project is looked at again: Label Studio calls /setup before it saves new settings, too."""
LOOK_SECONDS = 0.25  # between looks for new calls
PRUNE_SECONDS = 3600.0
SOONEST, LATEST = 1.0, 15.0  # seconds between two looks for one project
REFUSED_SETUP = "SETUP_NOT_OBEYED"  # the action of an event that says why
CONNECTIONS = "connections"  # the origin of a problem


@dataclass(frozen=True)
class Layers:
    """The settings of a project as Label Studio has them: layer -> values, and layer -> problems."""

    values: Mapping[str, Mapping[str, Any]]
    problems: dict[str, list[str]]


def read_layers(space: LabelSpace, extra_params: object, before: Mapping[str, Mapping[str, Any]]) -> Layers:
    """Validate what the labeling config and the extra parameters say; a bad value leaves the one `before` in place."""
    values: dict[str, Mapping[str, Any]] = {}
    problems: dict[str, list[str]] = {}
    for layer, read in (
        ("labeling config", lambda: dict(space.settings)),
        ("extra parameters", lambda: parse_layer(extra_params)),
    ):
        try:
            values[layer], faults = accept(read(), before.get(layer, {}), layer=layer)
            problems[layer] = [refused(refusal) for refusal in faults]
        except ValueError as fault:
            values[layer], problems[layer] = dict(before.get(layer, {})), [str(fault)]
    return Layers(values, problems)


def extra_params_refusal(extra_params: object) -> str | None:
    """Why extra parameters are refused, as a sentence: they are no JSON, or a setting has a value that is none."""
    try:
        _, faults = accept(parse_layer(extra_params), {}, layer="extra parameters")
    except ValueError as fault:
        return str(fault)
    wrong = [
        f"{refusal.name} = {refusal.value!r} is refused: {refusal.reason}"
        for refusal in faults
        if refusal.known
    ]
    return "; ".join(wrong) or None


def several_connections(own: Sequence[Json]) -> list[str]:
    """The sentence that Label Studio lists this backend several times with different settings, if it does."""
    extra = [str(backend.get("extra_params") or "") for backend in own]
    differing = [
        backend for backend, params in zip(own, extra, strict=True) if _read(params) != _read(extra[0])
    ]
    if not differing:
        return []
    others = " and ".join(f"{backend.get('title') or 'untitled'} ({backend['url']})" for backend in differing)
    return [
        f"Settings > Model of the project in Label Studio has this backend {len(own)} times, with different extra "
        f"parameters: those of the first, {own[0].get('title') or 'untitled'} ({own[0]['url']}), are obeyed, those of "
        f"{others} are not. Write what is meant into the first, and delete the rest"
    ]


def _read(extra_params: str) -> object:
    try:
        return parse_layer(extra_params)
    except ValueError:
        return extra_params


@dataclass(frozen=True)
class _Looked:
    """The looks for a project: since when, and when the next is due, unless /setup is called anew before."""

    since: float
    again_at: float


class Connector:
    """Answers the calls of /setup: looks each project up in Label Studio, a few times, and connects it."""

    def __init__(self, server: ServerSettings, store: Store) -> None:
        self._server = server
        self._store = store
        self._looked: dict[int, _Looked] = {}  # project of Label Studio -> the looks for it

    def run(self, stop: threading.Event) -> None:
        """See to the calls until `stop` is set, and now and then to the events that nobody needs any more."""
        studio: LabelStudio | None = None
        pruned_at = 0.0
        while not stop.wait(LOOK_SECONDS):
            try:
                if time.monotonic() - pruned_at > PRUNE_SECONDS:
                    pruned_at = time.monotonic()
                    self._store.prune_events()
                if self._store.setup_calls():
                    studio = studio or LabelStudio(self._server.label_studio_url, self._server.token_now())
                    self.connect(studio)
            except LabelStudioError as fault:
                studio = None  # its token may have been replaced
                log.warning("%s", fault)
                stop.wait(LATEST)
            except Exception as fault:  # a database that is away: nothing is lost, the calls stay
                log.error("the calls of /setup have to wait: %s", sentence(fault), exc_info=trace(fault))
                stop.wait(LATEST)

    def connect(self, studio: LabelStudio) -> bool:
        """Look for the projects that /setup was called for; returns whether one was connected or changed.

        Raises:
            LabelStudioUnreachable, TokenRefused: nothing can be asked now; the calls stay.
        """
        calls: dict[int, list[SetupCall]] = {}
        now = time.time()
        for call in self._store.setup_calls():
            calls.setdefault(call.source, []).append(call)
        self._looked = {source: looked for source, looked in self._looked.items() if source in calls}
        changed = False
        for source, own in calls.items():
            looked = self._looked.get(source)
            if looked is None or max(call.received_at for call in own) > looked.since:
                looked = _Looked(since=now, again_at=now)
            elif 0 < looked.again_at - now <= LATEST:  # not where the clock was set back
                continue
            try:
                found = self._look(studio, source, {call.host for call in own})
            except (LabelStudioUnreachable, TokenRefused):
                raise
            except Exception:  # whatever one project holds, the others are connected
                log.exception("project %s is not connected", source)
                found = False
            finally:
                again_at = now + min(max(SOONEST, now - looked.since), LATEST)
                self._looked[source] = _Looked(looked.since, again_at)
            done = [
                call for call in own if abs(now - call.received_at) > (SAVE_SECONDS if found else PATIENCE)
            ]
            self._store.close_setup_calls(done)
            if found:
                changed = True
            else:
                for call in done:
                    self._give_up(call)
        return changed

    def _follow(self, studio: LabelStudio, found: Json) -> Project | None:
        """Go on with what is known of a project whose Label Studio has another address by now, if it is known."""
        former = known_elsewhere(self._store, studio, found)
        if former is None:
            return None
        self._store.move_project(former.id, studio.url)
        note_project(self._store, studio, found)
        log.warning(
            "project %s was connected from %s: Label Studio is at %s now, and all that is known of it is kept",
            former.pool_project,
            former.studio_url,
            studio.url,
        )
        return self._store.project(former.id)

    def _give_up(self, call: SetupCall) -> None:
        """Say that a call was not obeyed, and why."""
        studio = self._server.label_studio_url
        named = f" (the caller says that Label Studio is {call.hostname})" if call.hostname != studio else ""
        sentence = (
            f"/setup was called at {call.host} for project {call.source}{named}, but Label Studio at {studio} lists no "
            "such ML backend for it: nothing was done. Where the call was right, set CDSEL_PUBLIC_URL to the address "
            "under Settings > Model, and LABEL_STUDIO_URL to that Label Studio"
        )
        log.warning("%s", sentence)
        known = self._store.project_of(call.source, studio)
        if known is not None:
            self._store.add_event(call.source, REFUSED_SETUP, {"problem": sentence}, handled=True)

    def _look(self, studio: LabelStudio, source: int, hosts: set[str]) -> bool:
        """Connect a project, or bring it up to date, where Label Studio lists this backend for it."""
        try:
            listed = studio.backends(source)
            known = self._store.project_of(source, self._server.label_studio_url)
            hosts = hosts | self._hosts_of(known)
            own = [backend for backend in listed if self._is_ours(backend["url"], hosts)]
            if not own:
                return False
            ours = own[0]
            found = studio.project(source)
            space = parse_label_space(found["label_config"])
            known = known or self._follow(studio, found)
        except (RequestRefused, UnsupportedLabelConfig) as fault:
            log.warning("project %s is not connected: %s", source, fault)
            return False
        if known is not None and known.pool_project != source:
            return True  # a queue belongs to the project whose pool it draws on
        layers = read_layers(space, ours["extra_params"], known.layers if known is not None else {})
        layers.problems[CONNECTIONS] = several_connections(own)
        address = self._server.public_url or ours["url"]
        if known is not None:
            if DISCONNECTED in known.problems:
                self._store.add_event(source, "SETUP", {})  # the worker looks whether it is there again
            if known.backend_url == address and not stale(known, layers):
                return True
        for sentences in layers.problems.values():
            if sentences:
                log.warning("project %s: %s", source, "; ".join(sentences))
        if known is None:
            note_project(self._store, studio, found)
        else:
            if known.backend_url and known.backend_url != address:
                self._forget_address(studio, known.id, known.backend_url)
            self._audit(known.id, layers)
        # The labeling config of a known project follows with the worker's next look, once its queue has taken it.
        first = {"label_config": found["label_config"]} if known is None else {}
        self._store.connect_project(
            studio.url,
            source,
            layers=layers.values,
            problems=layers.problems,
            backend_url=address,
            **first,
        )
        self._store.add_event(source, "SETUP", {})
        for note in space.notes:
            log.info("project %s: %s", source, note)
        return True

    def _audit(self, project: int, layers: Layers) -> None:
        """Take over what Label Studio says now, and keep in the audit what that changed."""

        def change(before: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Json]]:
            after = {**before, **layers.values}
            return after, audit_rows(before, after, moved(before, after), who="Label Studio")

        self._store.change_layer(project, change)

    def _is_ours(self, url: str, hosts: set[str]) -> bool:
        """Whether an address under Settings > Model is this backend's."""
        if self._server.public_url and url == self._server.public_url:
            return True
        return any(same_host(url, host) for host in hosts) and not self._is_another(url)

    def _hosts_of(self, known: Project | None) -> set[str]:
        """The host by which a project knows this backend, as long as this backend answers there.

        Of several connections the first is obeyed, whichever of them was called at: their settings would take turns.
        """
        address = known.backend_url if known is not None else None
        if not address or instance_at(address) != self._store.instance():
            return set()
        return {urlsplit(address).netloc}

    def _is_another(self, url: str) -> bool:
        """Whether another server answers at an address; one that is not reached from here may be this one."""
        found = instance_at(url)
        return found is not None and found != self._store.instance()

    def _forget_address(self, studio: LabelStudio, project: int, former: str) -> None:
        """Remove the webhooks to the address that this backend had: nobody may be there, or somebody else."""
        for source in State(self._store, project).sources:
            studio.remove_webhooks(source, f"{former.rstrip('/')}/webhook")


@dataclass(frozen=True)
class Answering:
    """The server at an address: the backend's id, and the last start on its database (`Store.instance`, `start`).

    Both are "" where the server is no backend of ours. Of an older version, which does not tell it, `start` is "".
    """

    instance: str = ""
    start: str = ""


def instance_at(url: str) -> str | None:
    """The id of the backend that answers at an address; "" where another server does, None where nobody does."""
    found = answering_at(url)
    return None if found is None else found.instance


def answering_at(url: str) -> Answering | None:
    """The server that answers at an address; None where nobody does."""
    health = ask_health(url)
    if health is None:
        return None
    return Answering(str(health.get("instance") or ""), str(health.get("start") or ""))


def same_host(url: str, host: str) -> bool:
    """Whether an address has the host and port that a Host header names."""
    try:
        parts, named = urlsplit(url), urlsplit(f"//{host}")
        default = PORTS.get(parts.scheme)
        # A proxy that takes HTTPS on 443 hands on the bare name.
        return (parts.hostname, parts.port or default) == (named.hostname, named.port or default)
    except ValueError:  # a port that is none
        return False


def stale(known: Any, layers: Layers) -> bool:
    """Whether settings are other than what is known of a project."""
    return any(known.layers.get(layer, {}) != values for layer, values in layers.values.items()) or any(
        known.problems.get(layer, []) != sentences for layer, sentences in layers.problems.items()
    )
