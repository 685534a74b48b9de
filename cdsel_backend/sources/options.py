"""How a source is to be read, as an admin names it and as it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class SourceOptions:
    """How a source is to be read; what an admin names once, in `cdsel pool add`.

    Attributes:
        image: the column with the images' paths (tables); None takes the first that is named like one.
        root: where those paths start; None takes the folder of the table.
        frame: of DICOM files with several frames the one to use, from 0; None takes the middle one.
        burned_in: whether DICOM files that say that their pixels show who the patient is may be used.
    """

    image: str | None = None
    root: str | None = None
    frame: int | None = None
    burned_in: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> SourceOptions:
        """Read what `to_json` gave, of this version or another."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in kept.items() if name in known})


DEFAULTS = SourceOptions()
