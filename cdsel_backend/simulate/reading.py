"""Read what `cdsel simulate` is given, and show how far that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from cdsel_backend.phrases import number_of
from cdsel_backend.simulate.dataset import Dataset, check_columns, load_dataset
from cdsel_backend.simulate.vectors import embed_folder, read_embeddings, with_pictures
from cdsel_backend.table import Row


def read(given: Mapping[str, Any], rows: list[Row], progress: Progress, backbone: str) -> Dataset:
    """Return the labelled items of the command's options, with vectors that were given or that a network makes."""
    metadata: Path = given["metadata"]
    # Before the images, which may take hours.
    check_columns(rows, given["label"], given["confounder"], given["group"], given["ignore"])
    if given["embeddings"]:
        vectors = read_embeddings(given["embeddings"], len(rows))
    else:
        vectors, problems = embed_folder(
            rows,
            given["images"] or metadata.parent,
            given["image_column"],
            cache=given["cache"],
            backbone=backbone,
            features=given["features"],
            view=given["view"],
            progress=teller(progress),
        )
        _tell_left_out(problems, progress)
    return load_dataset(
        rows,
        vectors,
        name=metadata.resolve().parent.name or metadata.stem,
        label=given["label"],
        confounders=given["confounder"],
        group=given["group"],
        ignore=given["ignore"],
        image_column=given["image_column"],
    )


def read_pictures(
    given: Mapping[str, Any], rows: list[Row], sets: dict[str, Dataset], file: Path, progress: Progress
) -> dict[str, Dataset]:
    """Return the datasets of each correlation with what a fine-tune reads of their pictures, kept in `file`."""
    found, problems = with_pictures(
        sets,
        rows,
        given["images"] or given["metadata"].parent,
        given["image_column"],
        backbone=given["backbone"][0],
        features=given["features"],
        view=given["view"],
        file=file,
        progress=teller(progress),
    )
    # Without --embeddings the same images were left out before, and nothing is left to tell.
    _tell_left_out(problems, progress)
    return found


def teller(progress: Progress) -> Callable[[str, int, int], None]:
    """A bar of its own; in a log, where no bar is drawn, a line for each twentieth."""
    task = progress.add_task("", total=None)
    bar = progress.console.is_terminal

    def tell(step: str, done: int, total: int) -> None:
        progress.update(task, description=step, completed=done, total=total, visible=bar)
        if not bar and 20 * done // total > 20 * (done - 1) // total:
            progress.console.print(f"{step}: {done} of {total}", markup=False, highlight=False)

    return tell


def _tell_left_out(problems: Sequence[str], progress: Progress) -> None:
    for problem in problems[:5]:
        progress.console.print(f"Left out: {problem}", style="yellow", markup=False)
    if len(problems) > 5:
        progress.console.print(
            f"... and {number_of(len(problems) - 5, 'more image')} that could not be used", style="yellow"
        )
