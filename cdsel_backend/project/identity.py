"""Whether a project of Label Studio is still the one that we know by its number.

Numbers are given again where Label Studio's database was replaced, or restored from a backup of before a project was
made. What has the number of a queue of ours then is somebody else's project: nothing is read from it, let alone
written. When a project was made tells two of them apart.
"""

from __future__ import annotations

from cdsel_backend.labelstudio.client import LabelStudio, NotFound
from cdsel_backend.labelstudio.queue_projects import owner_of
from cdsel_backend.labelstudio.times import time_or_none
from cdsel_backend.store import Store
from cdsel_backend.store.records import Json, Project


class AnotherProject(NotFound):
    """The project with this number is another than the one that we know; the message says so."""


def known_project(store: Store, studio: LabelStudio, number: int) -> Json:
    """One project of Label Studio, the first time or as long as it is the one that was looked at the first time.

    Raises:
        AnotherProject: another project has its number now.
        NotFound: there is no such project, or the token's account may not see it.
    """
    found = studio.project(number)
    made, known = str(found.get("created_at") or ""), store.fact(_fact(studio, number))
    now, before = time_or_none(made), time_or_none(known)
    if known is None:
        note_project(store, studio, found)
    elif now is not None and before is not None and now != before:
        raise AnotherProject(
            f"project {number} of Label Studio is another one than before (made {made}, formerly {known}), as after "
            "its database was replaced: nothing is read from it or pushed, and what is known of the former one stays "
            f"kept here. If project {number} is the one that you mean, remove the former one from this dashboard, then "
            "save Settings > Model in Label Studio again: it begins anew"
        )
    return found


def note_project(store: Store, studio: LabelStudio, found: Json) -> None:
    """Keep that a project is the one that we mean by its number, as when it was connected or made."""
    if made := found.get("created_at"):
        store.set_fact(_fact(studio, int(found["id"])), str(made))


def known_elsewhere(store: Store, studio: LabelStudio, found: Json) -> Project | None:
    """The project that we know from another address, where a project that is connected now is the very same.

    Label Studio has moved then. When it was made shows that they are one; for older books, which lack that, our line in
    its description, which names this backend.
    """
    number, made = int(found["id"]), time_or_none(found.get("created_at"))
    owner = owner_of(str(found.get("description") or ""))
    for project in reversed(store.projects()):
        if project.pool_project != number or project.studio_url == studio.url:
            continue
        known = store.fact(_fact_at(project.studio_url, number))
        named = owner is not None and owner.backend == store.instance()
        if named if known is None else made is not None and made == time_or_none(known):
            return project
    return None


def _fact(studio: LabelStudio, number: int) -> str:
    return _fact_at(studio.url, number)


def _fact_at(url: str, number: int) -> str:
    return f"project {number} of {url}"[:200]
