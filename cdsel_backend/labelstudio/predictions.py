"""What we ask of Label Studio about predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdsel_backend.labelstudio.errors import RequestRefused
from cdsel_backend.labelstudio.projects import Projects
from cdsel_backend.phrases import number_of
from cdsel_backend.store.records import Json

_TIMEOUT = 600.0  # seconds of an import
# Label Studio recounts the whole project after each request, so chunks cost more than they save.
_CHUNK = 10_000


class PredictionsRefused(RequestRefused):
    """Some predictions were not taken over; the others were."""

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)
        """Task id -> why its prediction is not valid for the project."""


class Predictions(Projects):
    """Predictions."""

    def predictions(self, project_id: int) -> Iterator[Json]:
        """Every prediction of a project: `id`, `task`, `model_version`, `score`, `result`, ..."""
        yield from self.pages("/api/predictions/", {"project": project_id})

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete a prediction; one that is gone already is no error."""
        self.delete(f"/api/predictions/{prediction_id}/")

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Import predictions, `{"task", "result", "score", "model_version"}` each; returns how many.

        Never repeated by itself. Label Studio accepts a request with invalid predictions (an unknown
        label, a score outside 0-1), creates the others, and says so only by their number.

        Raises:
            PredictionsRefused: some were invalid; their tasks and the reasons are named.
            LabelStudioError: a task is not of this project; nothing was imported.
        """
        created = 0
        for start in range(0, len(predictions), _CHUNK):
            chunk = predictions[start : start + _CHUNK]
            path = f"/api/projects/{project_id}/import/predictions"
            answer = self.send("POST", path, list(chunk), timeout=_TIMEOUT)
            created += int(answer["created"])
        if created < len(predictions):
            reasons = self._invalid(project_id, predictions)
            named = "; ".join(f"task {task}: {why}" for task, why in list(reasons.items())[:5])
            raise PredictionsRefused(
                f"project {project_id}: Label Studio took {created} of {number_of(len(predictions), 'prediction')}"
                + (f" ({named}{'; ...' if len(reasons) > 5 else ''})" if named else ""),
                reasons,
            )
        return created

    def _invalid(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Why predictions are invalid, found by the SDK's validator, which is the server's, too."""
        from label_studio_sdk.label_interface.interface import LabelInterface

        interface = LabelInterface(self.project(project_id)["label_config"])
        faults: dict[int, str] = {}
        for prediction in predictions:
            found = interface.validate_prediction(  # type: ignore[no-untyped-call]
                dict(prediction), return_errors=True
            )
            if found:
                faults[int(prediction["task"])] = " ".join(map(str, found))
        return faults
