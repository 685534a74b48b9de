"""The README as a page, so that help is where the question is: same text, no network."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Response, render_template, request, send_from_directory, url_for
from flask.blueprints import BlueprintSetupState
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from PIL import Image

import cdsel_backend
from cdsel_backend.server.pages.blueprint import pages

PICTURES = "tests/pictures"  # as the README names them
HELP = {
    "pages.projects": "connect-a-project",
    "pages.project": "the-overview",
    "pages.confounders": "the-confounder-report",
    "pages.pool_map": "the-map",
    "pages.gallery": "the-gallery",
    "pages.image": "the-gallery",
    "pages.queue": "the-queue",
    "pages.models": "rounds-and-models",
    "pages.settings": "settings",
    "pages.change_settings": "settings",
    "pages.activity": "when-something-is-amiss",
}
"""The section that explains each page, by endpoint."""


@dataclass(frozen=True)
class Guide:
    """The README as HTML, and its sections: (level 2 or 3, words, anchor)."""

    html: Markup
    sections: tuple[tuple[int, str, str], ...]


@pages.record_once
def _prepare(setup: BlueprintSetupState) -> None:
    setup.app.jinja_env.globals.update(help_url=help_url)


def help_url() -> str:
    """The address of the section about the page that is being looked at."""
    return url_for("pages.guide", _anchor=HELP.get(request.endpoint or ""))


@pages.get("/help")
def guide() -> str:
    """The README."""
    return render_template("guide.html", guide=read_guide(url_for("pages.guide_picture", name="")))


@pages.get("/help/pictures/", defaults={"name": ""})
@pages.get("/help/pictures/<name>")
def guide_picture(name: str) -> Response:
    """One of the README's pictures."""
    return send_from_directory(folder() / PICTURES, name, max_age=3600)


def folder() -> Path:
    """Where README and pictures lie: inside the package in a wheel, beside it in a checkout."""
    package = Path(cdsel_backend.__file__).parent
    inside = package / "guide"
    return inside if inside.is_dir() else package.parent


@cache
def read_guide(pictures: str) -> Guide:
    """Render the README; `pictures` is the address that its pictures are served below."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse((folder() / "README.md").read_text(encoding="utf-8"))
    sections = []
    for token, inline in itertools.pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(part.content for part in inline.children or ())
            token.attrSet("id", anchor(words))
            sections.append((int(token.tag[1:]), words, anchor(words)))
        for part in token.children or ():
            _repoint(part, pictures)
    html = markdown.renderer.render(tokens, markdown.options, {})
    # What is too wide for a telephone scrolls by itself, also by keyboard.
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = html.replace(
        "<table>", '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
    )
    html = html.replace("</table>", "</table></div>")
    return Guide(Markup(html), tuple(section for section in sections if section[0] in (2, 3)))


def anchor(words: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def _repoint(part: Token, pictures: str) -> None:
    source = str(part.attrGet("src") or "")
    if source.startswith(f"{PICTURES}/"):
        part.attrSet("src", pictures + source.removeprefix(f"{PICTURES}/"))
        part.attrSet("loading", "lazy")
        if not source.endswith(".svg"):  # its place is kept, so that nothing jumps while one reads
            with Image.open(folder() / source) as picture:
                part.attrSet("width", picture.width)
                part.attrSet("height", picture.height)
