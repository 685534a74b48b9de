"""Model versions: what is written beside the arrays, how they are named, and which are kept."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version as installed

from cdsel_backend.project.digests import digest_of
from cdsel_backend.project.serving import model_folder
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.records import Became, Json, Training
from cdsel_backend.training import load_meta

CHAMPION, CANDIDATE = "champion", "candidate"
NEWEST, PROMOTIONS = 10, 5  # versions kept beside the champion: the newest, and the last that were promoted
_LIBRARIES = ("cdsel-backend", "numpy", "scikit-learn", "torch", "timm")


def provenance(state: State, labels: Mapping[str, str]) -> Json:
    """What a version was made from: settings (the seed is one), label snapshot, backbone, library versions.

    `labels` is the snapshot, item id -> label; its hash is the same for the same labels in any order.
    """
    return {
        "settings": state.settings.model_dump(mode="json"),
        "seed": state.settings.seed,
        "labels": len(labels),
        "label_snapshot": digest_of(sorted(labels.items())),
        "backbone": state.project.backbone,
        "libraries": {"python": platform.python_version()} | {name: installed(name) for name in _LIBRARIES},
    }


def group_of(server: ServerSettings, state: State, version: str) -> str | None:
    """The setting `group` as it was when a version was trained.

    Raises:
        ModelFormatError: the version's folder is damaged; the message names the file.
    """
    meta = load_meta(model_folder(server, state.project.id) / version)
    group: str | None = meta.get("settings", {}).get("group")
    return group


def was_promoted(training: Training) -> bool:
    """Whether a training's model became the champion at its end."""
    return training.outcome.became is Became.PROMOTED


def kept(state: State) -> set[str]:
    """The versions whose files stay: the champion, the newest 10, and the last 5 that were promoted."""
    promoted = [version for version, row in state.versions.items() if was_promoted(row)]
    newest = list(state.versions)[-NEWEST:]
    return {*newest, *promoted[-PROMOTIONS:], *filter(None, [state.project.champion])}


def predecessors(state: State) -> list[str]:
    """The versions that served before the champion, the last first, of those that are kept.

    A training or a promotion by hand puts a version on top of those before it; going back takes it off again.
    """
    promoted = [(row.created_at, version) for version, row in state.versions.items() if was_promoted(row)]
    chosen = [(row.at, str(row.new)) for row in state.champion_changes]
    served: list[str] = []
    for _, version in sorted(promoted + chosen):
        if served[-2:-1] == [version]:
            served.pop()
        else:
            served.append(version)
    champion, stay = state.project.champion, kept(state)
    if champion in served:
        served = served[: len(served) - 1 - served[::-1].index(champion)]
    return [version for version in dict.fromkeys(reversed(served)) if version in stay - {champion}]


def aliases(state: State) -> dict[str, str]:
    """The names that stand for a version: the champion, and the candidate, a newer version that was kept out."""
    made = list(state.versions)
    champion = state.project.champion
    named = {CHAMPION: champion} if champion else {}
    if made and made[-1] != champion:
        named[CANDIDATE] = made[-1]
    return named


def prune(server: ServerSettings, state: State) -> None:
    """Remove the files of the versions that are not kept, and what labels they saw; all else stays known of them."""
    stay = kept(state)
    for version in state.versions.keys() - stay:
        shutil.rmtree(model_folder(server, state.project.id) / version, ignore_errors=True)
    state.store.drop_training_labels(state.project.id, stay)
