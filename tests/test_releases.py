"""What is said of a release of Label Studio, and where one that is installed is found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cdsel_backend.demo.installation import LabelStudioMissing, find_installation
from cdsel_backend.labelstudio.releases import (
    TESTED,
    blocks_private_addresses,
    has_personal_tokens,
    judge_release,
    parse_release,
    token_advice,
)

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_releases_are_compared_by_their_numbers():
    assert parse_release("1.23.2") == (1, 23, 2)
    assert parse_release("1.9.0") < parse_release("1.13.1") < parse_release("1.17.0.post1")
    assert parse_release("develop") == ()
    assert [has_personal_tokens(release) for release in ("1.16.0", "1.17.0", "2.0")] == [False, True, True]
    assert [blocks_private_addresses(release) for release in ("1.23.0", "1.23.1", "1.24")] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("release", "said", "fix"),
    [
        *((release, "the loop was run on it", "") for release in TESTED),
        ("1.22.7", "the loop was run on it", ""),
        ("1.19.0", "both sides", ""),
        ("1.12.0", "none as old", "upgrade"),
        ("", "none as old", "upgrade"),
        ("1.24.0", "none as new", "pytest -m versions --label-studio 1.24.0"),
    ],
)
def test_a_release_that_was_not_run_is_said_so(release, said, fix):
    remark, what_to_do = judge_release(release)
    assert said in remark
    assert fix in what_to_do
    assert bool(fix) == bool(what_to_do)


def test_the_advice_on_tokens_names_a_page_that_the_release_has():
    for release in TESTED:
        assert ("Personal Access Token" in token_advice(release)) == has_personal_tokens(release)
    assert "before Label Studio 1.17" in token_advice("")


def test_the_readme_says_the_same_of_each_release_that_was_run():
    section = README.partition("## Which Label Studio\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:3] == "| 1"
    ]
    assert [row[0] for row in rows] == list(TESTED)
    for release, token, addresses, result in rows:
        assert token.startswith("personal" if has_personal_tokens(release) else "legacy"), release
        assert addresses.startswith("refused" if blocks_private_addresses(release) else "allowed"), release
        assert result, release


def test_label_studio_is_found_in_this_environment_and_missed_in_another(tmp_path: Path):
    here = find_installation()
    assert here == find_installation(Path(sys.executable))
    assert (here.package / "manage.py").exists()
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\necho no module >&2; exit 1\n")
    empty.chmod(0o755)
    with pytest.raises(LabelStudioMissing, match="pip install label-studio"):
        find_installation(empty)
