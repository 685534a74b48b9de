"""Settings: layers, their order, and what becomes of bad values."""

from __future__ import annotations

import pytest

from cdsel_backend.project.sentences.settings import refused
from cdsel_backend.selection import registry
from cdsel_backend.settings import (
    DATABASE_FILE,
    ProjectSettings,
    accept,
    environment_layer,
    parse_layer,
    read_server_settings,
    resolve,
    unread_variables,
)


def test_the_default_data_folder_is_the_systems_and_the_one_before_stays_while_it_holds_a_database(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "system"))
    monkeypatch.delenv("CDSEL_DATA_DIR", raising=False)
    before, now = tmp_path / ".local/share/cdsel", tmp_path / "system/cdsel"
    assert read_server_settings().data_dir == now
    before.mkdir(parents=True)
    (before / DATABASE_FILE).touch()
    assert read_server_settings().data_dir == before
    assert read_server_settings().database_url == f"sqlite:///{before / DATABASE_FILE}"
    now.mkdir(parents=True)
    (now / DATABASE_FILE).touch()
    assert read_server_settings().data_dir == now
    monkeypatch.setenv("CDSEL_DATA_DIR", str(tmp_path / "named"))
    assert read_server_settings().data_dir == tmp_path / "named"


def test_layers_lie_over_each_other_and_name_their_source():
    resolved = resolve(
        {
            "environment": {"budget": 10, "seed": 3},
            "labeling config": {"budget": 20},
            "extra parameters": {"budget": 30},
            "dashboard": {"round_size": 5},
        }
    )
    assert (resolved.settings.budget, resolved.settings.seed, resolved.settings.round_size) == (30, 3, 5)
    assert resolved.sources["budget"] == "extra parameters"
    assert resolved.sources["round_size"] == "dashboard"
    assert resolved.sources["strategy"] == "default"


@pytest.mark.parametrize("raw", ['{"budget": 12}', {"budget": 12}, ' {"budget": "12"} '])
def test_extra_parameters_come_as_text_or_mapping(raw):
    accepted, problems = accept(parse_layer(raw), {}, layer="extra parameters")
    assert (accepted, problems) == ({"budget": 12}, [])


@pytest.mark.parametrize("raw", [None, "", "null", {}])
def test_nothing_is_no_fault(raw):
    assert parse_layer(raw) == {}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{"budget": 12', "line 1, column"),
        ("[1, 2]", "must be a JSON object"),
        ("12", "must be a JSON object"),
    ],
)
def test_broken_extra_parameters_say_where_and_how(raw, words):
    with pytest.raises(ValueError, match=words):
        parse_layer(raw)


@pytest.mark.parametrize("bad", [-1, "many", 1.5, None, [3]])
def test_a_bad_value_leaves_the_last_good_one(bad):
    accepted, problems = accept({"budget": bad, "round_size": 7}, {"budget": 40}, layer="extra parameters")
    assert accepted == {"budget": 40, "round_size": 7}
    assert len(problems) == 1
    assert "budget" in refused(problems[0])
    assert "40 stays" in refused(problems[0])


def test_an_unknown_strategy_is_named_with_those_that_exist():
    accepted, problems = accept({"strategy": "clever"}, {"strategy": "random"}, layer="extra parameters")
    assert accepted == {"strategy": "random"}
    assert "'clever' is unknown; choose one of confounder_aware, " in refused(problems[0])
    assert "'random' stays" in refused(problems[0])


def test_a_peer_that_is_not_installed_is_refused_with_the_mend_and_does_not_stop_the_project(monkeypatch):
    monkeypatch.delitem(registry._STRATEGIES, "lightly", raising=False)
    accepted, problems = accept({"strategy": "lightly"}, {}, layer="extra parameters")
    assert accepted == {}
    assert "pip install 'cdsel-backend[peers]'" in refused(problems[0])
    # Accepted when the extra was there, and the extra is gone:
    resolved = resolve({"extra parameters": {"strategy": "lightly", "budget": 9}})
    assert (resolved.settings.strategy, resolved.settings.budget) == ("confounder_aware", 9)
    assert resolved.sources["strategy"] == "default"
    assert "strategy = 'lightly' is refused" in refused(resolved.refused[0])


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("group_cap", [1, None], [0, -1, 1.5, "few"]),
        ("near_duplicate", [0.9, 1, None], [0, 1.1, "alike"]),
        ("random_share", [0, 0.25, 1], [-0.1, 1.1, None, "some"]),
    ],
)
def test_what_a_round_keeps_to_is_validated(name, good, bad):
    for value in good:
        assert accept({name: value}, {}, layer="x") == ({name: value}, [])
    for value in bad:
        assert accept({name: value}, {}, layer="x")[0] == {}


def test_an_unknown_setting_is_named_with_those_that_exist():
    accepted, problems = accept({"bugdet": 3}, {}, layer="extra parameters")
    assert accepted == {}
    assert "'bugdet'" in refused(problems[0])
    assert "budget" in refused(problems[0])


def test_lists_may_be_written_with_commas_in_attributes():
    attributes = {"confounders": "site, scanner", "budget": "9"}
    accepted, problems = accept(attributes, {}, layer="labeling config")
    assert (accepted, problems) == ({"confounders": ["site", "scanner"], "budget": 9}, [])


def test_the_environment_sets_defaults_and_its_faults_are_named():
    accepted, problems = environment_layer(
        {"CDSEL_BUDGET": "50", "CDSEL_ROUND_SIZE": "none", "CDSEL_PORT": "1"}
    )
    assert accepted == {"budget": 50}
    assert "CDSEL_ROUND_SIZE = 'none' is refused" in refused(problems[0])


def test_a_misspelt_variable_is_named_and_one_of_somebody_else_is_not():
    environment = dict.fromkeys(
        ("CDSEL_BUDGT", "CDSEL_IMAGE_ROOT", "CDSEL_DATABASE", "CDSEL_DATABASE_URL_FILE", "CDSEL_DATA_DIR"),
        "x",
    )
    environment |= dict.fromkeys(
        ("CDSEL_PORT", "CDSEL_SERVICE_HOST", "CDSEL_PORT_9090_TCP", "CDSEL_IMAGE"), "x"
    )
    assert unread_variables(environment) == {
        "CDSEL_BUDGT": "CDSEL_BUDGET",
        "CDSEL_DATABASE": "CDSEL_DATABASE_URL",
        "CDSEL_IMAGE_ROOT": "CDSEL_IMAGE_ROOTS",
    }


def test_a_bad_server_setting_is_named(monkeypatch):
    monkeypatch.setenv("CDSEL_POLL_SECONDS", "soon")
    with pytest.raises(ValueError, match="CDSEL_POLL_SECONDS"):
        read_server_settings()


def test_every_setting_is_explained_in_the_readme():
    from pathlib import Path

    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    missing = [name for name in ProjectSettings.model_fields if f"`{name}`" not in readme]
    assert not missing


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"group": " patient_id "}, {"group": "patient_id"}),
        ({"group": ""}, {"group": None}),
        ({"confounders": "AUTO"}, {"confounders": "auto"}),
        (
            {"show_reason": "Neutral", "delivery": " Queue_Project"},
            {"show_reason": "neutral", "delivery": "queue_project"},
        ),
        ({"paused": True}, {"paused": True}),
    ],
)
def test_a_value_is_taken_as_people_type_it(given, taken):
    assert accept(given, {}, layer="labeling config") == (taken, [])


@pytest.mark.parametrize("name", ["budget", "refill_at", "confounders", "group"])
def test_true_is_no_number_and_no_name(name):
    accepted, (problem,) = accept({name: True}, {name: "what was"}, layer="extra parameters")
    assert accepted == {name: "what was"}
    assert "true and false are no value of it" in refused(problem)


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("ignore", '["site", "age"]', ["site", "age"]),
        ("confounders", '["site"]', ["site"]),
        ("strategy", " Random ", "random"),
        ("group", "none", None),
        ("near_duplicate", "", None),
        ("budget_hours", " null ", None),
        ("backbone", " resnet18 ", "resnet18"),
    ],
)
def test_settings_are_taken_as_people_type_them(name, typed, meant):
    assert accept({name: typed}, {}, layer="environment") == ({name: meant}, [])


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("budget", "1,500", "write a whole number alone, such as 200"),
        ("near_duplicate", "0,95", "write a number alone, with a point: 0.5"),
        ("overlap", "10 %", "write a number alone"),
        ("budget_hours", "2h", "write a number alone"),
        ("annotators", "ann@x.org: 5, ann@x.org: 6", "name each account once"),
        ("annotators", "ann@x.org:5:6", "name each account once"),
        ("backbone", " ", "write a name"),
        ("group", "a\0b", "a character that no text has"),
        ("ignore", ["site", "\ud800"], "a character that no text has"),
        ("budget", "1.000", "a whole number alone"),
        ("random_share", 10, "write at most 1"),
        ("paused", "maybe", "write true or false"),
        ("group", ["patient"], "a text in quotation marks"),
        ("annotators", ["ann@example.org"], "how many images it gets"),
        pytest.param("strategy", "x" * 9000, "strategy 'xxx", id="long"),
    ],
)
def test_a_refusal_says_how_to_write_it_and_is_no_page_long(name, typed, words):
    accepted, (refusal,) = accept({name: typed}, {}, layer="extra parameters")
    assert accepted == {}
    assert words in refusal.reason
    assert len(refused(refusal).encode()) < 1000


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{"budget": 15, "budget": 80}', "they name 'budget' more than once"),
        ('{"a":' * 100_000, "cannot be used"),
        ("{“budget”: 15}", "straight double quotation marks"),
        ("{'budget': 15}", "straight double quotation marks"),
        ('{"budget": ' + "9" * 5000 + "}", "cannot be used"),
    ],
)
def test_extra_parameters_that_json_would_take_or_choke_on_are_refused(raw, words):
    with pytest.raises(ValueError, match=words):
        parse_layer(raw)
    assert parse_layer('\ufeff{"budget":\u00a03}\u200b') == {"budget": 3}
    assert parse_layer(" \n") == {}


def test_an_empty_variable_is_not_set():
    assert environment_layer({"CDSEL_BUDGET": "", "CDSEL_SEED": " "}) == ({}, [])


@pytest.mark.parametrize(
    ("variable", "typed", "words"),
    [
        ("CDSEL_TRUSTED_PROXY", "nginx", "write the one IP address of the proxy"),
        ("CDSEL_TRUSTED_PROXY", "10.0.0.2, 10.0.0.3", "write the one IP address of the proxy"),
        ("CDSEL_IMAGE_HOSTS", "pacs.local, http://x/", "'http://x/' is neither a host nor a network"),
        ("CDSEL_IMAGE_HOSTS", "10.0.0.0/99", "is neither a host nor a network"),
        ("CDSEL_IMAGE_HOSTS", "pacs:8080", "without http://, a port or a path"),
        ("LABEL_STUDIO_URL", "http://studio/ x", "write a whole address"),
        ("CDSEL_POLL_SECONDS", "inf", "finite"),
    ],
)
def test_a_variable_that_would_be_of_no_use_is_refused(variable, typed, words, monkeypatch):
    monkeypatch.setenv(variable, typed)
    with pytest.raises(ValueError, match=f"{variable} = .*{words}"):
        read_server_settings()


def test_variables_are_taken_as_people_set_them(monkeypatch):
    for variable, typed in {
        "CDSEL_POLL_SECONDS": "",
        "CDSEL_DATA_DIR": "~/cdsel",
        "CDSEL_LOG_FORMAT": "JSON",
        "CDSEL_DEVICE": " CPU ",
        "LABEL_STUDIO_API_KEY": "token\n",
        "CDSEL_IMAGE_HOSTS": "pacs.local, *.lan, 10.0.0.0/8, [::1]",
        "HOME": "/home/ann",
    }.items():
        monkeypatch.setenv(variable, typed)
    server = read_server_settings()
    assert (server.poll_seconds, server.log_format, server.device) == (30.0, "json", "cpu")
    assert (str(server.data_dir), server.label_studio_api_key) == ("/home/ann/cdsel", "token")
