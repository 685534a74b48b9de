"""Pictures uploaded into a project of Label Studio, without tasks: how annotators see images of pools outside it."""

from __future__ import annotations

from typing import Any

from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.errors import RequestRefused

TIMEOUT = 120


def upload(studio: LabelStudio, project: int, name: str, picture: bytes) -> str:
    """Upload a picture into a project; returns its address as task data hold it, `/data/upload/...`.

    Raises:
        LabelStudioError: Label Studio did not take it, or is away.
    """
    path = f"/api/projects/{project}/import"
    answer: Any = studio.send_file(
        path, name, picture, params={"commit_to_project": "false"}, timeout=TIMEOUT
    )
    ids = answer.get("file_upload_ids") or []
    if len(ids) != 1:
        raise RequestRefused(f"project {project}: Label Studio did not take the picture {name}")
    file = str(studio.get(f"/api/import/file-upload/{ids[0]}")["file"])
    return f"/data/{file}"
