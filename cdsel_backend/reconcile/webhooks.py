"""Our webhook in the projects that labels come from; where Label Studio refuses its address, labels come by polling."""

from __future__ import annotations

from collections.abc import Iterable

from cdsel_backend.labelstudio.errors import FORBIDDEN, LabelStudioError, RightMissing
from cdsel_backend.project.addresses import webhook
from cdsel_backend.project.sentences.problems import webhook_refused
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State

ORIGIN = "webhooks"


def ensure_webhooks(context: Context, state: State, sources: Iterable[int]) -> list[str]:
    """Have exactly one good webhook in each project; returns what is wrong, as sentences.

    Raises:
        LabelStudioError: Label Studio does not answer, or refuses for another reason than the webhook's address.
    """
    url, headers = webhook(context.server, state)
    for source in sources:
        try:
            context.studio.ensure_webhook(source, url, headers)
        except RightMissing as fault:
            return [f"{fault}. Labels still come, by a look every {context.server.poll_seconds:.0f} seconds"]
        except LabelStudioError as fault:
            if fault.status != FORBIDDEN:
                raise
            return [webhook_refused(url, str(fault), context.server.poll_seconds)]
    return []
