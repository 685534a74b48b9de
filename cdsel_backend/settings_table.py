"""Every setting as a table in Markdown, made from the schema: `cdsel settings` prints it, the README holds it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic.fields import FieldInfo

from cdsel_backend.settings import ProjectSettings, ServerSettings


def project_table() -> str:
    """The settings of a project."""
    rows = [
        (f"`{name}`", _default(field.default, as_json=True), _meaning(field))
        for name, field in ProjectSettings.model_fields.items()
    ]
    return _table(("setting", "default", "meaning"), rows)


def server_table() -> str:
    """The variables that the server reads from its environment."""
    rows = [
        (
            f"`{field.validation_alias}`",
            "by system" if field.default_factory else _default(field.default, as_json=False),
            _meaning(field),
        )
        for field in ServerSettings.model_fields.values()
    ]
    return _table(("variable", "default", "meaning"), rows)


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).rstrip(".")


def _default(value: object, *, as_json: bool) -> str:
    """A default as one would type it: as JSON for a project, as it is in the environment."""
    if value is None or value == "":
        return "none"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{json.dumps(value) if as_json else value}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
