"""What we ask of Label Studio about connections from a project to us: ML backends, webhooks, and a folder of images."""

from __future__ import annotations

from collections.abc import Mapping

from cdsel_backend.labelstudio.connection import Connection
from cdsel_backend.labelstudio.errors import RequestRefused
from cdsel_backend.labelstudio.releases import TESTED
from cdsel_backend.store.records import Json


class Backends(Connection):
    """ML backends, webhooks and storages of projects."""

    def backends(self, project_id: int) -> list[Json]:
        """The ML backends under a project's Settings > Model: `url` (without a slash at its end), `extra_params`, ...

        Read where Label Studio only reads. Its own list of them, /api/ml, first calls each one and then saves the whole
        row as it was before the call: an ML backend that an admin removes meanwhile is there again, and settings that
        are saved meanwhile are lost.

        Raises:
            RequestRefused: among others, this Label Studio is too old to say.
        """
        asked = {"extended": "true", "include_live_models": "true"}
        found = self.get(f"/api/projects/{project_id}/model-versions/", asked)
        if not isinstance(found, dict) or found.get("live") is None:
            raise RequestRefused(
                f"Label Studio at {self.url} does not say which ML backends project {project_id} has: upgrade it to "
                f"{TESTED[0]} or newer"
            )
        return [{**row, "url": str(row["url"]).rstrip("/")} for row in found["live"]]

    def connect_backend(
        self,
        project_id: int,
        url: str,
        title: str,
        extra_params: str = "",
        basic_auth: tuple[str, str] | None = None,
    ) -> int:
        """Connect an ML backend as Settings > Model does, or bring its settings up to date; returns its id.

        The webhook is made first: Label Studio makes one itself where there is none of this address, and the backend
        may make its own at the same moment. Label Studio calls the backend's /health and /setup meanwhile. It also
        names the backend in the project's `model_version`, unless one is set: that is what makes it ask for live
        predictions.

        Args:
            project_id: the project.
            url: where Label Studio reaches the backend.
            title: shown in Settings > Model.
            extra_params: JSON text, as the page's text box holds; a mapping would be lost on the next save.
            basic_auth: user and password that Label Studio shall send.
        """
        url = url.rstrip("/")
        self.ensure_webhook(project_id, f"{url}/webhook", {})
        body: dict[str, object] = {
            "project": project_id,
            "url": url,
            "title": title,
            "extra_params": extra_params,
        }
        body["auth_method"] = "BASIC_AUTH" if basic_auth else "NONE"
        if basic_auth:
            body["basic_auth_user"], body["basic_auth_pass"] = basic_auth
        same = [backend["id"] for backend in self.backends(project_id) if backend["url"] == url]
        if same:
            return int(self.send("PATCH", f"/api/ml/{same[0]}", body)["id"])
        return int(self.send("POST", "/api/ml", body)["id"])

    def webhooks(self, project_id: int) -> list[Json]:
        """The webhooks of a project."""
        return list(self.get("/api/webhooks/", {"project": project_id}))

    def ensure_webhook(self, project_id: int, url: str, headers: Mapping[str, str]) -> int:
        """Have exactly one active webhook to this address with these headers; returns its id.

        One that exists is adopted and corrected; the actions an administrator chose for it stay. One that leads
        elsewhere with the same headers, which hold a secret, is one of ours from a former address, and goes.
        """
        wanted = {"url": url, "headers": dict(headers), "is_active": True, "send_payload": True}
        hooks = sorted(self.webhooks(project_id), key=lambda hook: int(hook["id"]))
        found = [hook for hook in hooks if hook["url"] == url]
        for hook in hooks:
            if headers and hook["url"] != url and hook["headers"] == dict(headers):
                self.delete_webhook(hook["id"])
        if not found:
            body = {**wanted, "project": project_id, "send_for_all_actions": True}
            return int(self.send("POST", "/api/webhooks/", body)["id"])
        kept, *doubles = found
        for hook in doubles:
            self.delete_webhook(hook["id"])
        if any(kept.get(key) != value for key, value in wanted.items()):
            # Without `actions` a PATCH wipes them.
            chosen = {key: kept[key] for key in ("actions", "send_for_all_actions")}
            self.send("PATCH", f"/api/webhooks/{kept['id']}/", {**wanted, **chosen})
        return int(kept["id"])

    def remove_webhooks(self, project_id: int, url: str) -> None:
        """Delete the webhooks of a project that lead to an address."""
        for hook in self.webhooks(project_id):
            if hook["url"] == url:
                self.delete_webhook(hook["id"])

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; one that is gone already is no error."""
        self.delete(f"/api/webhooks/{webhook_id}/")

    def add_local_storage(self, project_id: int, path: str) -> int:
        """Let a project's users see the files of a folder on Label Studio's machine; returns the storage's id.

        The folder must lie below Label Studio's LOCAL_FILES_DOCUMENT_ROOT. Nothing is imported from it.
        """
        for storage in self.get("/api/storages/localfiles", {"project": project_id}):
            if storage["path"].rstrip("/") == path.rstrip("/"):
                return int(storage["id"])
        body = {"project": project_id, "path": path, "title": "images", "use_blob_urls": True}
        return int(self.send("POST", "/api/storages/localfiles", body)["id"])
