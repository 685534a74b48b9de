"""Where a task holds its image: `$image`, `$meta.url`, `$images[0].url`, or text around such fields.

Label Studio's editor resolves the `value` of a tag against the data of a task; what it resolves is resolved here in
the same way, so that the backend reads the picture that the annotator sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from cdsel_backend.store.records import Json

# What the editor takes for a field: letters, digits, "_", dots, brackets and braces after a "$".
_FIELD = re.compile(r"\$([\w[\].{}]+)", re.ASCII)
_WRITTEN = re.compile(r"\$([\w[\].{}]+)")
_STEP = re.compile(r"[^.[\]]+")


class UnresolvableField(ValueError):
    """A `value` that names no field of a task, or one that only a Repeater resolves; the message says which."""


@dataclass(frozen=True)
class ImageField:
    """The `value` of an `<Image>`, as `parse` made it from the labeling config."""

    value: str
    """As written: `$image`, `$meta.url`, `https://host/$file`."""

    @classmethod
    def parse(cls, value: str) -> ImageField:
        """Read the `value` of an `<Image>`.

        Raises:
            UnresolvableField: it names no field, or a field of a Repeater.
        """
        value = value.strip()
        names = _FIELD.findall(value)
        if any("{" in name for name in names):
            raise UnresolvableField(
                f'value="{value}" has a different image for each turn of a <Repeater>: '
                "an image of the pool needs a task of its own"
            )
        if any(name.count("[") != name.count("]") for name in names):
            raise UnresolvableField(
                f'value="{value}" has brackets that Label Studio does not resolve: write $meta.url for the field url '
                "of meta, and $images[0] for the first of a list"
            )
        foreign = next((name for name in _WRITTEN.findall(value) if not name.isascii()), None)
        if foreign is not None:
            raise UnresolvableField(
                f'value="{value}" names the field {foreign!r}, of which Label Studio reads only letters '
                "without accents: give the field of the tasks another name, such as image"
            )
        if not any(_STEP.search(name) for name in names):
            raise UnresolvableField(f'value="{value}" names no field of the task, such as value="$image"')
        return cls(value)

    @property
    def plain(self) -> str | None:
        """The name of the field, `meta.url` for `$meta.url`; None where there is text around it."""
        whole = _FIELD.fullmatch(self.value)
        return whole[1] if whole else None

    def read(self, data: Mapping[str, Any]) -> str | None:
        """The image's address in the data of a task; None where the fields do not hold it as text."""
        if self.plain is not None:
            found = _walk(data, self.plain)
            return found if isinstance(found, str) else None
        parts = {name: _walk(data, name) for name in _FIELD.findall(self.value)}
        if any(isinstance(part, bool) or not isinstance(part, str | int | float) for part in parts.values()):
            return None
        return _FIELD.sub(lambda match: str(parts[match[1]]), self.value)

    def with_address(self, data: Mapping[str, Any], address: str) -> Json:
        """A copy of the data of a task whose field holds another address.

        Where the address is put together from text and fields it is left as it is: no field holds it whole.
        """
        changed = deepcopy(dict(data))
        if self.plain is None:
            return changed
        holder, key = _holder(changed, self.plain)
        if holder is not None:
            holder[key] = address
        return changed

    def metadata(self, data: Mapping[str, Any]) -> Json:
        """A copy of the data of a task without the fields that make up the image's address."""
        names = _FIELD.findall(self.value)
        if all(name in data for name in names):  # as nearly always; a deep copy takes ten times as long
            return {name: value for name, value in data.items() if name not in names}
        rest = deepcopy(dict(data))
        for name in names:
            holder, key = _holder(rest, name)
            if "[" in name and name not in rest:  # where there is a list of images, none of them is metadata
                rest.pop(_STEP.findall(name)[0], None)
            elif holder is not None:
                del holder[key]
        return rest


def _walk(data: Any, name: str) -> Any:
    holder, key = _holder(data, name)
    return None if holder is None else holder[key]


def _holder(data: Any, name: str) -> tuple[Any, Any]:
    """What holds a field, and its key or index there; (None, None) where the data have no such field.

    A key that is spelt like the whole path goes first, as in the editor.
    """
    if isinstance(data, dict) and name in data:
        return data, name
    steps: list[Any] = _STEP.findall(name)
    holder: Any = None
    for position, step in enumerate(steps):
        holder = data if position == 0 else holder
        key: Any = int(step) if isinstance(holder, list) and step.isdecimal() else step
        if isinstance(holder, dict) and key in holder:
            pass
        elif not (isinstance(holder, list) and isinstance(key, int) and key < len(holder)):
            return None, None
        if position == len(steps) - 1:
            return holder, key
        holder = holder[key]
    return None, None
