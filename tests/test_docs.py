"""The README says what is so: every setting, variable and command, no more and no less."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from cdsel_backend.cli import COMMANDS, main
from cdsel_backend.selection import strategies
from cdsel_backend.server.pages.guide import HELP, anchor, read_guide
from cdsel_backend.settings import ProjectSettings, ServerSettings, environment_layer
from cdsel_backend.settings_table import project_table, server_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Read by `cdsel serve` and its relations only through `settings`; these two belong to compose and to the tests.
OTHER_VARIABLES = {"CDSEL_PORT", "CDSEL_SCREENSHOTS"}


def rows_of(head: str) -> list[str]:
    """The lines of the README's table that starts with `head`."""
    lines = README.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(head)), None)
    assert start is not None, f"README.md has no table that starts with {head!r}"
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("|")), len(lines))
    return lines[start:end]


@pytest.mark.parametrize("made", [project_table(), server_table()], ids=["project", "server"])
def test_the_readme_holds_the_table_of_settings(made):
    written, made = rows_of(made.splitlines()[0]), made.splitlines()
    name = re.compile(r"\| (\S+)")
    missing = [name.match(row)[1] for row in made if row not in written]
    foreign = [name.match(row)[1] for row in written if row not in made]
    assert written == made, (
        f"README.md misses or differs in {missing}, and says {foreign} otherwise: "
        "put the tables that `cdsel settings` prints into it"
    )


@pytest.mark.parametrize("schema", [ProjectSettings, ServerSettings])
def test_every_setting_says_what_it_is_for(schema):
    assert [name for name, field in schema.model_fields.items() if not field.description] == []


def test_only_the_settings_read_the_environment():
    readers = {
        path.relative_to(ROOT / "cdsel_backend").as_posix()
        for path in (ROOT / "cdsel_backend").rglob("*.py")
        if re.search(r"\benviron\b(?!m)|\bgetenv\b|\bBaseSettings\b", path.read_text(encoding="utf-8"))
    }
    # The demo hands its own environment on to the servers that it starts.
    assert {name for name in readers if not name.startswith("settings/")} == {"demo/process.py"}


def test_every_variable_that_is_named_anywhere_is_one():
    known = {str(field.validation_alias) for field in ServerSettings.model_fields.values()} | OTHER_VARIABLES
    known |= {f"CDSEL_{name.upper()}" for name in ProjectSettings.model_fields}
    known |= {f"{one.validation_alias}_FILE" for one in ServerSettings.model_fields.values() if not one.repr}
    folders = ("cdsel_backend", "docker", "label_config")
    files = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".png")
    ]
    named = {
        (name, path.name)
        for path in [*files, ROOT / "README.md"]
        for name in re.findall(r"\bCDSEL_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    assert {(name, where) for name, where in named if name not in known} == set()


def test_a_project_setting_is_read_from_the_environment():
    assert environment_layer({"CDSEL_BUDGET": "7"}) == ({"budget": 7}, [])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme(name):
    assert f"cdsel {name}" in README
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert shown.output.strip()


def test_the_command_prints_both_tables():
    shown = CliRunner().invoke(main, ["settings"])
    assert shown.output == f"{project_table()}\n\n{server_table()}\n"


def test_the_command_prints_every_strategy_with_a_sentence():
    shown = CliRunner().invoke(main, ["strategies"]).output.splitlines()
    assert [line.split()[0] for line in shown] == list(strategies())
    for line in shown:
        assert re.fullmatch(r"\w+ +\S.{20,100}\.", line), line


def test_the_readme_shows_every_picture_and_each_is_small_and_told_in_words():
    shown = dict(re.findall(r"!\[([^\]]+)\]\(tests/pictures/([^)]+)\)", README))
    pictures = {path.name: path for path in (ROOT / "tests/pictures").iterdir()}
    assert set(shown.values()) == set(pictures)
    for path in pictures.values():
        assert path.stat().st_size < 120_000, path
        if path.suffix == ".webp":
            assert Image.open(path).width == 1000, path


def test_links_within_the_readme_lead_somewhere():
    anchors = {anchor(words) for words in re.findall(r"^#+ (.+)$", README, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors


def test_the_page_of_help_is_the_readme_and_every_help_link_leads_to_a_section_of_it():
    guide = read_guide("/help/pictures/")
    anchors = [name for _, _, name in guide.sections]
    assert len(set(anchors)) == len(anchors)
    assert set(HELP.values()) <= set(anchors)
    for name in anchors:
        assert f'id="{name}"' in guide.html
    assert guide.html.count("<img ") == len(list((ROOT / "tests/pictures").iterdir()))
    assert 'src="tests/' not in guide.html


def test_the_two_commands_stand_first():
    assert (
        README.split("```")[1]
        == "\npip install -e '.[demo]' && cdsel demo\npip install -e '.[test]' && pytest\n"
    )


def test_whatever_goes_into_the_wheel_is_copied_into_the_image_first():
    section = (ROOT / "pyproject.toml").read_text().partition("force-include]\n")[2].partition("\n[")[0]
    sources = re.findall(r'^"([^"]+)" = ', section, re.M)
    copied = {
        name
        for line in re.findall(r"^COPY (.+)$", (ROOT / "docker/Dockerfile").read_text(), re.M)
        for name in line.split()[:-1]
    }
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert {"README.md", "tests/pictures", "label_config"} <= set(sources)
    assert set(sources) <= copied
    assert set(sources) <= set(let_in)


def test_the_list_of_commands_says_what_each_says_itself_and_waits_for_no_library():
    context = click.Context(main)
    for name, (_, sentence) in COMMANDS.items():
        command = main.get_command(context, name)
        assert sentence == " ".join(command.help.partition("\n\n")[0].split())
    code = "import sys; from cdsel_backend.cli import main; main(['--help'], standalone_mode=False); "
    code += "print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("False\n")
    assert all(sentence.split()[-1] in shown for _, sentence in COMMANDS.values())
