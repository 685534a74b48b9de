"""What we ask of Label Studio about itself, its accounts and its projects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cdsel_backend.labelstudio.connection import Connection
from cdsel_backend.store.records import Json


class Projects(Connection):
    """Projects and accounts."""

    def version(self) -> str:
        """Label Studio's release, "1.23.2"; the token is checked by the way."""
        self.get("/api/current-user/whoami")  # the version itself is shown to anybody
        return str(self.get("/api/version")["release"])

    def projects(self, *more: str) -> Iterator[Json]:
        """Every project's `id`, `title` and `description`, and more of its fields if named."""
        yield from self.pages("/api/projects/", {"include": ",".join(("id", "title", "description", *more))})

    def users(self) -> dict[str, int]:
        """The accounts of this Label Studio: e-mail in lower case -> id."""
        return {str(user["email"]).lower(): int(user["id"]) for user in self.pages("/api/users/", {})}

    def project(self, project_id: int) -> Json:
        """One project with all its fields."""
        return dict(self.get(f"/api/projects/{project_id}/"))

    def create_project(self, title: str, label_config: str, **fields: Any) -> int:
        """Create a project; returns its id."""
        body = {"title": title, "label_config": label_config, **fields}
        return int(self.send("POST", "/api/projects/", body)["id"])

    def update_project(self, project_id: int, **fields: Any) -> None:
        """Change fields of a project.

        `model_version` can be set only to "", to the title of a connected backend, or to a version that
        predictions of the project carry: import those first.
        """
        self.send("PATCH", f"/api/projects/{project_id}/", fields)
