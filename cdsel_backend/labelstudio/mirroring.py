"""Labels of the queue as annotations of the pool project (setting `mirror`): how they are marked, and what is due.

A mirrored annotation says so by the ids of its parts, which hold a digest of its task and of what it says. So nobody
needs books to know it: after the data folder was lost it is no second label, either. Once somebody changes it, or
imports it into another project, the digest does not hold any more: it is that person's annotation then.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdsel_backend.labelstudio.space import LabelSpace
from cdsel_backend.store.records import Json

MARK = "cdsel-mirror-"
EMPTY = "cdsel_mirror"  # `from_name` of the part that marks regions when nothing was drawn
_MARKED = re.compile(rf"{MARK}([0-9a-f]{{16}})-\d+")
_REFERENCES = ("id", "parentID", "from_id", "to_id")


@dataclass(frozen=True)
class Due:
    """The changes by which the pool project comes to hold the labels of the queue.

    `create` has (task, result), `change` (annotation, result), and `delete` annotations, by their ids.
    """

    create: Sequence[tuple[int, list[Json]]]
    change: Sequence[tuple[int, list[Json]]]
    delete: Sequence[int]

    @property
    def count(self) -> int:
        """How many annotations are to be written."""
        return len(self.create) + len(self.change) + len(self.delete)


def mirrored(task: int, result: Sequence[Json], space: LabelSpace) -> list[Json]:
    """The `result` of the annotation that mirrors a `result` of the queue on a task of the pool."""
    parts = list(result)
    if not parts:
        part: dict[str, object] = {"from_name": space.control, "to_name": space.to_name, "type": "choices"}
        part["value"] = {"choices": []}
        if space.regions:
            part |= {"from_name": EMPTY, "type": "textarea", "value": {"text": ["nothing drawn"]}}
        parts = [part]
    mark, names = digest(task, parts), dict[object, str]()
    for number, part_ in enumerate(parts):
        for key in _REFERENCES:
            name = part_.get(key, number if key == "id" else None)
            if name is not None and name not in names:
                names[name] = f"{MARK}{mark}-{len(names)}"
    return [
        {**part_, **{key: names[part_[key]] for key in _REFERENCES if part_.get(key) is not None}}
        | {"id": names[part_.get("id", number)]}
        for number, part_ in enumerate(parts)
    ]


def is_mirrored(task: int, result: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether an annotation of a task mirrors one of the queue, and nobody changed it since."""
    parts = [part for part in result or () if isinstance(part, Mapping)]
    marks = {match[1] for part in parts if (match := _MARKED.fullmatch(str(part.get("id"))))}
    return len(marks) == 1 and marks == {digest(task, parts)}


def is_copy(task: int, annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation of a task is one of ours: one that somebody marked as ground truth is that person's."""
    return annotation.get("ground_truth") is not True and is_mirrored(task, annotation.get("result"))


def digest(task: int, result: Sequence[Mapping[str, Any]]) -> str:
    """A digest of a task and of the content of a `result`, whatever the ids of its parts."""
    content = [[part.get("from_name"), part.get("type"), part.get("value")] for part in result]
    text = json.dumps([task, content], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def due(wanted: Mapping[int, list[Json]], found: Mapping[int, Sequence[Json]]) -> Due:
    """Find the changes that are due in the pool project. A task that a person annotated there gets no copy.

    Args:
        wanted: task of the pool -> the `result` that `mirrored` made.
        found: task of the pool -> its annotations, `id`, `result` and `ground_truth` each.
    """
    create = [(task, result) for task, result in wanted.items() if not found.get(task)]
    change: list[tuple[int, list[Json]]] = []
    delete: list[int] = []
    for task, given in found.items():
        ours = [annotation for annotation in given if is_copy(task, annotation)]
        result = wanted.get(task) if len(ours) == len(given) else None
        if result is None or not ours:
            delete += [int(annotation["id"]) for annotation in ours]
            continue
        due_digest = digest(task, result)
        kept = next(
            (annotation for annotation in ours if digest(task, annotation["result"]) == due_digest), ours[0]
        )
        delete += [int(annotation["id"]) for annotation in ours if annotation is not kept]
        if digest(task, kept["result"]) != due_digest:
            change.append((int(kept["id"]), result))
    return Due(create, change, delete)
