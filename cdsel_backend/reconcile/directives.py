"""What an admin wants of single images: excluded ones leave the queues, and those put first head the next selection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cdsel_backend.phrases import form, number_of
from cdsel_backend.project.embedded import EmbeddedPool
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.taking_out import say_taken_out, take_out
from cdsel_backend.store import State
from cdsel_backend.store.records import Directive


def withdraw_excluded(context: Context, state: State) -> bool:
    """Take open images that an admin excluded out of the queues, unless somebody is at them; returns whether any was.

    They come back where the exclusion is undone.
    """
    store, project = context.store, state.project.id
    if not state.open:
        return False
    wanted = store.directives(project, items=state.open)
    excluded = [item for item, directive in wanted.items() if directive is Directive.EXCLUDED]
    out = take_out(context, state, excluded, books_first=True)
    if out:
        count = len({row.item for row in out})
        message = (
            f"{number_of(count, 'image was', 'images were')} taken out of the queue, because an administrator "
            f"excluded {form(count, 'it; the budget lets another in', 'them; the budget lets others in')}"
        )
        say_taken_out(context, state, out, message)
    return bool(out)


def first_rows(pool: EmbeddedPool, taken: NDArray[np.bool_], most: int) -> list[int]:
    """At most `most` rows of the pool that an admin put first, in the order in which that was done.

    An image is left out where it is `taken` (n,), or another with the same picture is.
    """
    put_first = [item for item, wanted in pool.state.directives.items() if wanted is Directive.FIRST]
    at = np.searchsorted(pool.ids, put_first) if put_first else np.zeros(0, dtype=np.int64)
    shown = set(pool.vectors.positions[taken].tolist()) if put_first else set()
    rows: list[int] = []
    for row, item in zip(at.tolist(), put_first, strict=True):
        if (
            row < len(pool.ids)
            and pool.ids[row] == item
            and (at_row := pool.vectors.positions[row]) not in shown
        ):
            rows.append(row)
            shown.add(int(at_row))
    return rows[:most]
