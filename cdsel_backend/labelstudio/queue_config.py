"""The labeling config of the queue: that of the pool, with the reason why an image was chosen above it."""

from __future__ import annotations

import re

from cdsel_backend.labelstudio.tags import parse

REASON_FIELD, PLACE_FIELD = "cdsel_reason", "cdsel_place"
QUEUE_LINE = {
    PLACE_FIELD: f'<Header value="${PLACE_FIELD}" size="5" style="white-space: nowrap"/>',
    REASON_FIELD: f'<Header value="${REASON_FIELD}" size="5" style="font-weight: normal; font-size: 15px"/>',
}
"""What shows an annotator a field of the queue's tasks: its place, and why it was chosen."""


def queue_config(label_config: str) -> str:
    """The labeling config with a line above it of each task's place in the queue and reason, unless it shows them.

    The line's tags have no name, so Label Studio does not ask for their fields in every task.
    """
    root = parse(label_config)
    values = [value for tag in root.iter() for value in tag.attrib.values()]
    line = "".join(
        words for field, words in QUEUE_LINE.items() if not any(f"${field}" in value for value in values)
    )
    if not line:
        return label_config
    # Around it rather than into it: the administrator's own layout and comments stay as they are.
    body = re.sub(r"^\s*<\?xml.*?\?>\s*", "", label_config, flags=re.DOTALL)
    return f'<View><View style="display: flex; gap: 1em; align-items: baseline">{line}</View>{body}</View>'
