"""Whether images of the sources of a pool outside Label Studio can be read, from where the command runs."""

from __future__ import annotations

from collections.abc import Iterator

from cdsel_backend.labelstudio.checkup import CheckResult, Level
from cdsel_backend.labelstudio.client import LabelStudio
from cdsel_backend.labelstudio.labels import UnsupportedLabelConfig
from cdsel_backend.phrases import number_of
from cdsel_backend.pool.decode import UnreadableImage
from cdsel_backend.pool.source import SourceError
from cdsel_backend.project.source import ProjectPool, source_item
from cdsel_backend.store import State
from cdsel_backend.store.records import Source

READ = 3  # images of each source


def check_sources(studio: LabelStudio, state: State) -> Iterator[CheckResult]:
    """Read the first images of each source."""
    try:
        pool = ProjectPool(studio, state)
    except UnsupportedLabelConfig:
        return  # the check of the labeling config names it
    for source in state.store.sources(state.project.id):
        yield _check(pool, state, source)


def _check(pool: ProjectPool, state: State, source: Source) -> CheckResult:
    project, faults = state.project.pool_project, []
    items = state.store.first_items(source.id, READ)
    for item in items:
        try:
            pool.read(source_item(item))
        except (UnreadableImage, SourceError) as fault:
            faults.append(str(fault))
    read = len(items) - len(faults)
    if not items:
        message = f"{source.address} lists no image that can be used"
        fix = "the project's overview says why; give `cdsel pool add` again once that is corrected"
        return CheckResult("images", "warning", message, fix, project)
    if faults:
        level: Level = "warning" if read else "problem"
        message = f"{source.address}: {read} of {len(items)} could be read; {faults[0]}"
        fix = "see that this machine has the files and that this account may read them"
        return CheckResult("images", level, message, fix, project)
    message = f"{number_of(read, 'image')} of {source.address} can be read"
    return CheckResult("images", "ok", message, project=project)
