"""The metadata of a pool, typed, and how its images are split: made when the pool moved, kept beside the database.

A million tasks take half a minute to read and to type. The worker does it once for each version of the pool; a
confounder report, a training, a selection and the map then read what they need of it from one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.labelstudio.labels import space_of
from cdsel_backend.pool.column_reading import read_columns
from cdsel_backend.pool.columns import Column
from cdsel_backend.pool.fields import Fields
from cdsel_backend.pool.groups import group_id, unread_groups
from cdsel_backend.project.array_file import key_of, read_arrays, write_arrays
from cdsel_backend.project.digests import digest_of
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import State
from cdsel_backend.store.records import Item, Json
from cdsel_backend.training import one_side_each

FORM = 11  # of the files


@dataclass(frozen=True, eq=False)
class TypedPool:
    """The embedded pool at one moment: n images in order of item ids.

    `ids` and `tasks` (n,) int64; `columns` of n items; `held_out` (n,) bool, the images whose labels no model is
    trained on; `groups` (n,) int64, the patient or lesion; `shared` (n,) bool, the images whose file other groups have,
    too; `fields`: the raw metadata of the columns that may confound; `unread`: what is wrong with the values of the
    setting `group`, if anything is.
    """

    ids: NDArray[np.int64]
    tasks: NDArray[np.int64]
    columns: Sequence[Column]
    held_out: NDArray[np.bool_]
    groups: NDArray[np.int64]
    shared: NDArray[np.bool_]
    fields: Fields
    unread: str | None

    def take(self, rows: NDArray[np.int64]) -> TypedPool:
        """Some of the images, ascending."""
        arrays = {name: array[rows] for name, array in self.arrays().items()}
        return TypedPool.from_kept(arrays, self.meta())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to keep; `meta` holds the rest."""
        # A column has at most a few dozen levels, unless it is no candidate.
        codes = {f"codes_{i}": column.codes.astype(np.int32) for i, column in enumerate(self.columns)}
        raw = {f"raw_{i}": own for i, own in enumerate(self.fields.codes.values())}
        return {name: getattr(self, name) for name in _OWN} | codes | raw

    def meta(self) -> Json:
        """What is kept beside the arrays, as JSON."""
        return {
            "columns": [column.meta() for column in self.columns],
            "fields": [[name, list(values)] for name, values in self.fields.values.items()],
            "unread": self.unread,
        }

    @classmethod
    def from_kept(cls, kept: dict[str, NDArray[Any]], meta: Json) -> TypedPool:
        """Rebuild from `arrays` and `meta`."""
        columns = [
            Column.from_meta(column, kept[f"codes_{i}"].astype(np.int64))
            for i, column in enumerate(meta["columns"])
        ]
        fields = Fields(
            len(kept["ids"]),
            dict(meta["fields"]),
            {name: kept[f"raw_{i}"] for i, (name, _) in enumerate(meta["fields"])},
        )
        own = {name: kept[name] for name in _OWN}
        return cls(columns=columns, fields=fields, unread=meta["unread"], **own)


_OWN = ("ids", "tasks", "held_out", "groups", "shared")


def pool_key(state: State) -> str:
    """A digest of all that a typed pool depends on."""
    project, settings = state.project, state.settings
    embedded = state.store.embedding_progress(project.id)
    parts = [
        FORM,
        project.backbone,
        project.pool_version,
        space_of(state).image.value,
        *embedded,
        sorted(settings.ignore),
        settings.group,
    ]
    return digest_of(parts)


def typed_pool(state: State, server: ServerSettings | None = None) -> TypedPool:
    """The embedded pool, typed: from the file that is kept in the data folder, or made, and kept there."""
    if server is None:
        return make_typed(state)
    key, path = pool_key(state), _path(server, state)
    kept = read_arrays(path, key)
    if kept is not None:
        return TypedPool.from_kept(*kept)
    made = make_typed(state)
    if len(made.ids):
        write_arrays(path, key, made.arrays(), made.meta())
    return made


def is_typed(state: State, server: ServerSettings) -> bool:
    """Whether the file in the data folder is that of the pool as it is."""
    return key_of(_path(server, state)) == pool_key(state)


def make_typed(state: State) -> TypedPool:
    """Read the items that have a vector, part by part, and type their metadata together."""
    embedded, _ = state.store.positions(state.project.id, state.project.backbone)
    settings, image = state.settings, space_of(state).image
    ids: list[int] = []
    tasks: list[int] = []
    keys: list[str] = []
    contents: list[str | None] = []
    grouped: list[object] = []

    def metadata() -> Iterator[Json]:
        for part in state.store.iter_items(state.project.id):
            for item in _among(part, embedded):
                ids.append(item.id)
                tasks.append(item.task)
                keys.append(group_key(item, settings.group))
                contents.append(item.content_hash)
                if settings.group is not None:
                    grouped.append(item.data.get(settings.group))
                yield image.metadata(item.metadata)

    fields = Fields.of(metadata())
    columns = read_columns(fields, ignore=settings.ignore, groups=settings.group)
    keys, held_out, shared = one_side_each(keys, contents)
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return TypedPool(
        ids=np.array(ids, dtype=np.int64),
        tasks=np.array(tasks, dtype=np.int64),
        columns=columns,
        held_out=held_out,
        groups=np.fromiter((numbers[key] for key in keys), dtype=np.int64, count=len(keys)),
        shared=shared,
        fields=fields.only({column.field for column in columns if column.excluded is None}),
        unread=None if settings.group is None else unread_groups(settings.group, grouped),
    )


def _among(part: Sequence[Item], ids: NDArray[np.int64]) -> Iterator[Item]:
    """The items of a part whose ids are among some (n,); both are in ascending order."""
    wanted = np.array([item.id for item in part], dtype=np.int64)
    found = np.isin(wanted, ids[slice(*np.searchsorted(ids, (wanted[0], wanted[-1] + 1)))])
    return (item for item, here in zip(part, found.tolist(), strict=True) if here)


def group_key(item: Item, name: str | None) -> str:
    """The patient or lesion of an image; where none is known, the image itself, so that copies go together."""
    # Those whose patient is "unknown" or "N/A" are not one giant patient.
    group = None if name is None else group_id(item.data.get(name))
    return f"image={item.content_hash}" if group is None else f"{name}={group}"


def _path(server: ServerSettings, state: State) -> Path:
    return server.layouts_folder / f"{state.project.id}.metadata.npz"
