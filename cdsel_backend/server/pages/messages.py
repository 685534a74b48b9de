"""What is wrong, as the pages say it: a whole sentence, whose tasks and projects lead into Label Studio."""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import url_for
from markupsafe import Markup

from cdsel_backend.store.records import Json

PART = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?P<settings>Settings > (?P<page>Labeling Interface|Model)(?: of project (?P<of>\d+))?)"
    r"|(?P<project>\bproject (?P<number>\d+))\b"
    r"|(?P<tasks>\btasks? \d+(?:(?:, | and )(?:task )?\d+)*)(?= of (?P<pool>the pool)\b)?"
    r"|(?P<activity>\bpage Activity)\b"
)
QUEUE = re.compile(r"\bqueue \(project (\d+)\)")
SETTINGS = {"Labeling Interface": "labeling", "Model": "ml"}
"""Pages of a project's settings in Label Studio, by their names."""


def message(text: str, status: Json) -> Markup:
    """A message of a project as HTML: `quoted` parts as code, and links where a person has to look."""
    pool = int(status["project"])
    queues = {int(row["queue_project"]) for row in status["annotators"] if row["queue_project"]}
    queues |= {int(status["queue_project"])} if status["queue_project"] else set()
    named = QUEUE.search(text)
    of_tasks = int(named[1]) if named else pool if "in the pool" in text or not queues else min(queues)

    def studio(project: int, rest: str) -> Callable[[str], Markup]:
        """A function that makes words a link to a page of a project in Label Studio, if the project is one of ours."""
        if project not in {pool, *queues}:
            return lambda words: Markup("{}").format(words)
        return _link(f"{status['studio_url']}/projects/{project}/{rest}")

    def replaced(part: re.Match[str]) -> Markup:
        if part["code"]:
            return Markup("<code>{}</code>").format(part["code"])
        if part["settings"]:
            return studio(int(part["of"] or pool), f"settings/{SETTINGS[part['page']]}")(part["settings"])
        if part["project"]:
            return studio(int(part["number"]), "data")(part["project"])
        if part["activity"]:
            return _link(url_for("pages.activity", pool_project=pool, _anchor="unusable"))(part["activity"])
        project = pool if part["pool"] else of_tasks
        pieces = re.split(r"(\d+)", part["tasks"])
        return Markup("").join(
            studio(project, f"data?task={piece}")(piece) if piece.isdigit() else piece for piece in pieces
        )

    made, end = [], 0
    for part in PART.finditer(text):
        made += [Markup("{}").format(text[end : part.start()]), replaced(part)]
        end = part.end()
    rest = text[end:]
    stop = "" if text.rstrip().endswith((".", "!", "?")) else "."
    return Markup("").join([*made, f"{rest}{stop}"])


def _link(address: str) -> Callable[[str], Markup]:
    return lambda words: Markup('<a href="{}">{}</a>').format(address, words)
