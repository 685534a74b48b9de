"""Counted things in sentences, in one place: what is said of one of them, of several, of too many to name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cdsel_backend.phrases import form, isolated, listed, named_level, number_of, numbered
from cdsel_backend.server.pages.blueprint import breakable

ROOT = Path(__file__).parents[1] / "cdsel_backend"
_NOUNS = """
accounts annotations annotators bytes classes columns connections fields files frames images items labels levels places
predictions problems projects regions rounds rows tasks values variables vectors versions webhooks
"""
_KINDS = "different|held-out|labelled|more|random|similar|simulated"
COUNTED = re.compile(rf"^ (?:(?:{_KINDS}) )?(?:{'|'.join(_NOUNS.split())})\b")
APART = ("figures", "migrations")
"""What says so to programmers only."""
_MANY = """
b; budget; budgets[-1]; budgets[0]; decoded.format; images; len(own); len(texts) / distinct; len(theirs); minimum; n;
readers; self.covers; size
"""
NEVER_ONE = frozenset(re.split(r";\s", _MANY.strip()))
"""What is two at least where it is said, or no number."""


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (number_of(1, "image"), "1 image"),
        (number_of(0, "image"), "0 images"),
        (number_of(12345, "image"), "12,345 images"),
        (number_of(2, "label is", "labels are"), "2 labels are"),
        (form(1, "class", "classes"), "class"),
        (form(1.5, "hour"), "hours"),
        (isolated("site north"), "site north"),
        (isolated("site الرياض"), "\u2068site الرياض\u2069"),
        (isolated("עברית"), "\u2068עברית\u2069"),
        (listed([], 3), ""),
        (listed(["a"], 3), "a"),
        (listed(["a", "b"], 3), "a and b"),
        (listed("abc", 3), "a, b and c"),
        (listed("abcdef", 3), "a, b, c and 3 more"),
        (numbered("task", [5], 3), "task 5"),
        (numbered("task", [5, 6], 3), "tasks 5, 6"),
        (numbered("task", [5, 6, 7, 8], 3), "tasks 5, 6, 7, …"),
    ],
)
def test_numbers_agree_and_lists_are_cut(said, wanted):
    assert said == wanted


def disagreeing(source: str) -> list[str]:
    """The f-strings that put a number before a word for several things, as 'LINE: NUMBER AND WORDS'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for number, words in (
            zip(node.values, node.values[1:], strict=False) if isinstance(node, ast.JoinedStr) else ()
        ):
            if not isinstance(number, ast.FormattedValue) or not isinstance(words, ast.Constant):
                continue
            name = ast.unparse(number.value)
            if COUNTED.match(words.value) and not name.isupper() and name not in NEVER_ONE:
                found.append(f"{node.lineno}: {{{name}}}{words.value[:30]}")
    return found


def test_whatever_is_counted_for_a_person_agrees_with_its_number():
    """`1 labels`, `tasks 5`: a person reads that."""
    found = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if not set(path.parts).intersection(APART)
        and (lines := disagreeing(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "say it with cdsel_backend.phrases"
    assert disagreeing("f'{len(rows)} labels'") == ["1: {len(rows)} labels"]
    pages = {
        path.name: re.findall(r"\{\{ '?s'? if [^}]*\}\}", path.read_text(encoding="utf-8"))
        for path in (ROOT / "server" / "templates").iterdir()
    }
    assert {name: lines for name, lines in pages.items() if lines} == {}, "use the filters number_of and form"


def test_long_words_are_given_places_to_break_at():
    assert breakable("short <b> words") == "short &lt;b&gt; words"
    pieces = f"<wbr>{'c' * 20}".join(["", "", ""])
    assert breakable(f"{'c' * 40} <i>") == f'<span class="long">{pieces[5:]}</span> &lt;i&gt;'
    assert "<b>" not in breakable(f"<b>{'<' * 60}")


@pytest.mark.parametrize(
    ("variable", "level", "named"),
    [
        ("site", "north", "site north"),
        ("site", "site 7", "site 7"),
        ("Site", "site_7", "site_7"),
        ("site", "sites", "site sites"),
        ("sex", "sex", "sex sex"),
        ("age", "50-60", "age 50-60"),
    ],
)
def test_a_level_that_names_its_variable_says_it_once(variable, level, named):
    assert named_level(variable, level) == named
