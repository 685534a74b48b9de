"""A database is brought to this program's schema when it is opened, whoever made it and however many open it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import create_engine, inspect, text

from cdsel_backend.cli import main
from cdsel_backend.confounders import Report
from cdsel_backend.project.source import take_in
from cdsel_backend.round import seed_of_round
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Selected, State, Store
from cdsel_backend.store.migrations import HEAD, KNOWN, VERSION_TABLE, NewerDatabase, alembic_config, migrate
from cdsel_backend.store.schema import metadata

DUMPS = Path(__file__).parent / "databases"  # of commit e7083fe, before there were revisions, with data


def restore(url):
    """Fill an empty database with the one of e7083fe."""
    engine = create_engine(url)
    dump = (DUMPS / f"{engine.dialect.name}.sql").read_text(encoding="utf-8")
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(engine.url.database) as connection:
            connection.executescript(dump)
        connection.close()
    else:
        with engine.begin() as connection:
            connection.connection.driver_connection.execute(dump)
    engine.dispose()


def make_older(url):
    """Take away what commits before e7083fe did not have."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for words in (
            "DROP TABLE copies",
            "DROP TABLE annotators",
            "ALTER TABLE selections DROP COLUMN annotator",
            "ALTER TABLE projects DROP COLUMN described",
            "ALTER TABLE projects DROP COLUMN exhausted_key",
        ):
            connection.execute(text(words))
    engine.dispose()


def revision(engine):
    with engine.begin() as connection:
        return connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))


def check_schema(engine):
    """The database has exactly the tables, columns and constraints of schema.py."""
    with engine.begin() as connection:
        options = {"version_table": VERSION_TABLE, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    assert revision(engine) == HEAD


def test_revisions_are_one_row():
    """Two streams of work that both wrote the next revision have to number one of them anew."""
    engine = create_engine("sqlite://")
    migrate(engine)
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
        assert [one.revision for one in script.walk_revisions()][::-1] == list(KNOWN)
    assert list(KNOWN) == [f"{number:04}" for number in range(1, len(KNOWN) + 1)]


def test_the_revisions_make_the_schema(database_url, tmp_path):
    store = Store(database_url, tmp_path / "vectors")
    check_schema(store.engine)
    store.close()


def test_a_database_of_e7083fe_keeps_what_it_holds(database_url, tmp_path):
    restore(database_url)
    store = Store(database_url, tmp_path / "vectors")
    check_schema(store.engine)
    (project,) = store.projects()
    state = State(store, project.id)
    assert (len(state.items), len(state.selections), len(state.rounds)) == (48, 24, 2)
    assert (len(state.labels), len(state.open), len(state.trainings)) == (17, 7, 1)
    assert state.project.champion == state.trainings[0].version == "cdsel-3-v1"
    assert state.settings.budget == 30
    assert {(row.seconds, row.ignored) for row in state.annotations} == {(None, None)}, (
        "not known of old ones"
    )
    assert (state.pace.every, state.budget) == (None, 30)
    assert Report.from_json(state.project.report).confounders == ("site",)
    assert [row.annotator for row in state.copies] == ["ann@example.org"]
    assert state.queues == {"": 4, "ann@example.org": 51}
    ids, vectors = store.vectors(project.id, "b")
    assert vectors.shape == (len(ids), 16)
    assert abs(vectors).sum() > 0
    assert [event.action for event in store.open_events(state.sources)] == [
        "ANNOTATION_CREATED",
        "START_TRAINING",
    ]
    assert store.audit(project.id)[0].who == "dr@example.org"
    # What is new gets a number after those that are there.
    assert store.connect_project("http://another", 9) == project.id + 1
    store.close()


def open_with(barrier, url, folder):
    barrier.wait(60)
    Store(url, folder).close()


def test_a_database_of_an_earlier_commit_gets_what_it_lacks(database_url, tmp_path):
    restore(database_url)
    make_older(database_url)
    store = Store(database_url, tmp_path / "vectors")
    check_schema(store.engine)
    state = State(store, store.projects()[0].id)
    assert (len(state.labels), len(state.open), state.copies, state.annotators) == (17, 7, [], {})
    assert {row.annotator for row in state.selections} == {""}
    assert (state.project.described, state.project.exhausted_key) == (None, "")
    store.close()


@pytest.mark.parametrize("old", [False, True], ids=["empty", "e7083fe"])
def test_processes_that_open_at_once_do_not_collide(database_url, tmp_path, old):
    if old:
        restore(database_url)
    # Forked, not spawned: they are to meet in the database, not one after the other after their imports.
    start = multiprocessing.get_context("fork")
    barrier = start.Barrier(4)
    processes = [
        start.Process(target=open_with, args=(barrier, database_url, tmp_path / "vectors")) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    store = Store(database_url, tmp_path / "vectors")
    check_schema(store.engine)
    assert len(store.projects()) == old
    store.close()


def test_a_newer_database_is_refused_by_name_and_left_alone(database_url, tmp_path):
    url = database_url
    Store(url, tmp_path / "vectors").close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        connection.execute(text("UPDATE facts SET value = '\"7.0.1\"' WHERE name = 'upgraded by'"))
        connection.execute(text("DROP TABLE copies"))
    with pytest.raises(NewerDatabase) as refused:
        Store(url, tmp_path / "vectors")
    for part in (engine.url.render_as_string(), "revision 9999", "cdsel 7.0.1", f"up to {HEAD}"):
        assert part in str(refused.value)
    assert not inspect(engine).has_table("copies")
    assert revision(engine) == "9999"
    engine.dispose()


@pytest.mark.parametrize("command", [["serve"], ["models", "list"], ["doctor"]])
def test_every_command_refuses_a_newer_database_in_one_sentence(tmp_path, command):
    server = ServerSettings(data_dir=tmp_path)
    store = Store.open(server)
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    store.close()
    environment = {
        "CDSEL_DATA_DIR": str(tmp_path),
        "LABEL_STUDIO_API_KEY": "0" * 40,
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
    }
    result = CliRunner().invoke(main, command, env=environment)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "is newer than this program" in " ".join(result.output.split())


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    restore(url)
    monkeypatch.setattr(
        "cdsel_backend.store.migrations.__version__", object()
    )  # no JSON: the last statement fails
    with pytest.raises(Exception, match="JSON serializable"):
        Store(url, tmp_path / "vectors")
    monkeypatch.undo()
    engine = create_engine(url)
    assert not inspect(engine).has_table(VERSION_TABLE)
    engine.dispose()
    Store(url, tmp_path / "vectors").close()


def test_either_database_keeps_what_is_long_or_large(database_url, tmp_path):
    """A signed address of more bytes than an index of PostgreSQL holds; a date as the seed."""
    signed = [f"https://images.example/{name}.png?token=" + "é7-" * 1500 for name in "ab"]
    (tmp_path / "pool.csv").write_text("image,site\n" + "".join(f"{one},north\n" for one in signed))
    store = Store(database_url, tmp_path / "vectors")
    project = store.connect_project("http://studio", 1, layers={})
    kept = store.add_source(project, str(tmp_path / "pool.csv"), {})
    for new in (2, 0):
        assert list(take_in(store, kept, tmp_path, again=True))[-1] == (2, new, 0)
    items = store.items(project)
    assert [item.image for item in items] == signed
    assert len({item.key for item in items}) == 2
    seed = seed_of_round(20261127, 1)
    store.add_round(
        project,
        1,
        [Selected(items[0].id, 1, 1.0, "because", {})],
        strategy="s",
        seed=seed,
        model_version=None,
    )
    assert [one.seed for one in store.rounds(project)] == [seed]
    assert store.project_of(2**31) is None  # a number that somebody typed
    # By its name an image from outside Label Studio is found, too.
    (found,) = store.items_with_text(project, "Example/B")
    assert store.items_by_id([found])[found].image == signed[1]
    store.close()
