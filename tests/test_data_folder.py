"""The data folder is the one that the database belongs to, or no worker starts."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import threading
from types import SimpleNamespace

import psycopg
import pytest
from click import ClickException
from click.testing import CliRunner
from sqlalchemy import make_url
from sqlalchemy.exc import InternalError, OperationalError

from cdsel_backend.cli import main
from cdsel_backend.server.app import create_app
from cdsel_backend.server.command import check_port
from cdsel_backend.server.health import find_problems
from cdsel_backend.server.machine_checkup import check_connections, check_file_system
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.store.data_folder import FACT, MARKER, OtherFolder, claim_folder
from cdsel_backend.store.faults import not_opened, sentence, trace


def test_the_first_folder_becomes_that_of_the_database(store, tmp_path):
    for _ in range(2):
        claim_folder(store, tmp_path / "shared")
    assert store.fact(FACT) == (tmp_path / "shared" / MARKER).read_text().strip()
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [MARKER]


def test_another_folder_is_refused_and_left_alone(store, tmp_path):
    claim_folder(store, tmp_path / "shared")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(OtherFolder, match="it has no id"):
        claim_folder(store, other)
    assert list(other.iterdir()) == []
    (other / MARKER).write_text("something else")
    with pytest.raises(OtherFolder, match="it is the folder something else"):
        claim_folder(store, other)
    (other / MARKER).write_text(store.fact(FACT))  # as the message says, for one that is lost
    claim_folder(store, other)


def test_workers_that_start_at_once_agree_on_one_folder(database_url, tmp_path):
    stores = [Store(database_url) for _ in range(4)]
    refused = []

    def claim(store, folder):
        try:
            claim_folder(store, folder)
        except OtherFolder:
            refused.append(folder)

    folders = [tmp_path / "a", tmp_path / "a", tmp_path / "b", tmp_path / "b"]
    threads = [threading.Thread(target=claim, args=pair) for pair in zip(stores, folders, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(refused) in ([tmp_path / "a"] * 2, [tmp_path / "b"] * 2)
    for store in stores:
        store.close()


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_command_with_another_folder_ends_with_one_sentence(tmp_path, command):
    database = f"sqlite:///{tmp_path / 'state.sqlite3'}"
    store = Store(database)
    claim_folder(store, tmp_path / "shared")
    store.close()
    environment = {
        "CDSEL_DATABASE_URL": database,
        "CDSEL_DATA_DIR": str(tmp_path / "other"),
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": "0" * 40,
    }
    result = CliRunner().invoke(main, [command], env=environment)
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True)
    assert "is not the data folder of this database" in result.output
    assert "on storage that all workers share" in result.output


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h/d", "mysql:// is neither SQLite nor PostgreSQL: write sqlite:////folder/file"),
        ("nonsense", "Could not parse"),
        ("postgres://127.0.0.1:1/d", "connection to server"),
        ("postgresql://127.0.0.1:1/d", "connection to server"),
    ],
)
def test_a_database_that_does_not_open_is_named_with_the_setting(url, words, tmp_path):
    environment = {"CDSEL_DATABASE_URL": url, "CDSEL_DATA_DIR": str(tmp_path / "data")}
    found = CliRunner().invoke(main, ["pool", "stats"], env=environment)
    assert (found.exit_code, type(found.exception)) == (1, SystemExit)
    assert "CDSEL_DATABASE_URL: the database does not open" in found.output
    assert words in found.output
    (doctor,) = [
        line
        for line in CliRunner().invoke(main, ["doctor"], env=environment).output.splitlines()
        if words in line
    ]
    assert doctor.startswith("problem  database")


def test_a_folder_that_cannot_be_written_or_is_full_is_named_with_what_to_do(tmp_path, monkeypatch):
    def fault(words):
        return OperationalError("SELECT secret", {}, sqlite3.OperationalError(words))

    own, elsewhere = f"sqlite:///{tmp_path / 'cdsel.sqlite3'}", "sqlite:////elsewhere/x.sqlite3"
    for words in ("unable to open database file", "attempt to write a readonly database"):
        said = not_opened(fault(words), tmp_path, own)
        assert said.startswith(
            f"CDSEL_DATA_DIR: {tmp_path} cannot be used ({words}): give this account that folder"
        )
        said = not_opened(fault(words), tmp_path, elsewhere)
        assert said == f"CDSEL_DATABASE_URL: the database does not open ({words})"
    assert "Read-only" in not_opened(OSError(errno.EROFS, "Read-only file system"), tmp_path, own)
    for full in (fault("database or disk is full"), OSError(errno.ENOSPC, "No space left on device")):
        assert f"CDSEL_DATA_DIR: the disk of {tmp_path} is full" in not_opened(full, tmp_path, own)
    broken = fault("disk I/O error")  # of SQLite on a full disk, too
    said = not_opened(broken, tmp_path, own)
    assert (
        f"CDSEL_DATA_DIR: {tmp_path} cannot be used (disk I/O error): see that its disk works; on a" in said
    )
    assert not_opened(broken, tmp_path, elsewhere).startswith(
        "CDSEL_DATABASE_URL: the database does not open"
    )
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
        assert f"CDSEL_DATA_DIR: the disk of {tmp_path} is full" in not_opened(broken, tmp_path, own)
    # A real one, as a folder in the place of the database.
    (tmp_path / "cdsel.sqlite3").mkdir()
    found = CliRunner().invoke(main, ["pool", "stats"], env={"CDSEL_DATA_DIR": str(tmp_path)})
    assert f"CDSEL_DATA_DIR: {tmp_path} cannot be used (unable to open database file)" in found.output


def ask(url, *statements):
    """Send statements to a PostgreSQL server, each by itself."""
    address = make_url(url).set(drivername="postgresql").render_as_string()
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_new_database_that_cannot_hold_every_character_is_refused_with_the_fix(new_postgresql, tmp_path):
    server = make_url(new_postgresql())
    for encoding in ("SQL_ASCII", "LATIN1"):
        name = f"narrow_{encoding.lower()}"
        made = f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ask(server, made)
        environment = {
            "CDSEL_DATABASE_URL": server.set(database=name).render_as_string(),
            "CDSEL_DATA_DIR": str(tmp_path),
        }
        found = CliRunner().invoke(main, ["pool", "stats"], env=environment)
        assert f"the database {name} has the encoding {encoding}" in found.output
        assert f"createdb --encoding UTF8 --template template0 {name}_utf8" in found.output
        assert (found.exit_code, type(found.exception)) == (1, SystemExit)


def test_an_account_that_may_make_no_tables_is_named_with_the_fix(new_postgresql, tmp_path):
    url = new_postgresql()
    ask(url, "CREATE ROLE guest LOGIN", f"GRANT ALL ON DATABASE {make_url(url).database} TO guest")
    environment = {
        "CDSEL_DATABASE_URL": make_url(url).set(username="guest").render_as_string(),
        "CDSEL_DATA_DIR": str(tmp_path),
    }
    found = CliRunner().invoke(main, ["pool", "stats"], env=environment)
    assert "(permission denied for schema public): let its account own the database" in found.output


def test_postgresql_is_connected_to_so_that_firewalls_and_poolers_do_no_harm(new_postgresql, tmp_path):
    url = new_postgresql()
    store = Store(f"{url}?connect_timeout=3&keepalives_idle=7", tmp_path)
    for _ in range(10):  # more often than the driver does before it prepares a statement
        store.beat("a worker", moved=True)
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar() == 0
        driver = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as wire:
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7, "the address goes first"
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    store.close()


def test_a_login_that_its_file_replaces_is_that_of_the_next_connection(new_postgresql, tmp_path, monkeypatch):
    url = make_url(new_postgresql())
    file = tmp_path / "url"
    file.write_text(f"{url}\n")
    monkeypatch.setenv("CDSEL_DATABASE_URL_FILE", str(file))
    store = Store(str(url), tmp_path)

    def users() -> set[str]:
        store.engine.dispose()  # as PostgreSQL does when it starts anew
        with store.engine.connect() as connection:
            return {connection.exec_driver_sql("SELECT session_user").scalar()}

    ask(str(url), "CREATE ROLE rotated LOGIN")
    for text, user in (
        (url.set(drivername="postgres", username="rotated").render_as_string(), "rotated"),
        (url.set(username="rotated", database="elsewhere").render_as_string(), "postgres"),
        ("half an ad", "postgres"),
    ):
        file.write_text(text)
        assert users() == {user}
    store.close()


def test_an_account_that_may_have_few_connections_is_named_with_the_fix(new_postgresql, tmp_path):
    url = new_postgresql()
    name = make_url(url).database
    ask(url, "CREATE ROLE few LOGIN CONNECTION LIMIT 1", f"ALTER DATABASE {name} OWNER TO few")
    few = make_url(url).set(username="few").render_as_string()
    store = Store(few, tmp_path)
    found = check_connections(store)
    assert (found.level, "allows this account 1 connection at once" in found.message) == ("problem", True)
    assert "CONNECTION LIMIT" in found.fix
    with store.engine.connect():
        environment = {"CDSEL_DATABASE_URL": few, "CDSEL_DATA_DIR": str(tmp_path)}
        command = CliRunner().invoke(main, ["pool", "stats"], env=environment)
        assert "too many connections for role" in command.output
        assert "let PostgreSQL allow more connections" in command.output
        with pytest.raises(OperationalError) as failed:
            Store(few, tmp_path)
        assert sentence(failed.value).startswith("the database takes no more connections")
    store.close()
    assert check_connections(Store(url, tmp_path)).level == "ok"


def test_a_password_that_the_database_refuses_is_named_with_the_fix(tmp_path):
    refused = sqlite3.OperationalError(
        'connection failed: FATAL: password authentication failed for user "cdsel"'
    )
    fault = OperationalError("SELECT 1", {}, refused)
    for said in (sentence(fault), not_opened(fault, tmp_path, "postgresql+psycopg://cdsel@db/state")):
        assert "CDSEL_DATABASE_URL" in said
        assert "write the one that PostgreSQL accepts into it and start again, or into the file" in said


def test_a_database_that_takes_no_changes_is_named_and_taken_up_again(new_postgresql, tmp_path, monkeypatch):
    # So that the answer says what came of it, however busy this machine is.
    monkeypatch.setattr("cdsel_backend.server.protocol.WAIT_SECONDS", 60.0)
    url = new_postgresql()
    store = Store(url, tmp_path)
    store.connect_project("http://studio:8080", 1)
    client = create_app(ServerSettings(data_dir=tmp_path), store).test_client()
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
    name = make_url(url).database
    ask(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store.engine.dispose()
    with pytest.raises(InternalError) as failed:
        store.beat("a worker", moved=True)
    assert sentence(failed.value).startswith("the database takes no changes (cannot execute")
    assert trace(failed.value) is None
    answer = client.post("/webhook", json=event)  # which opens a session that stays read-only
    assert (answer.status_code, "takes no changes" in answer.text) == (503, True)
    ask(url.replace(name, "postgres"), f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert client.post("/webhook", json=event).status_code == 201
    store.close()


def test_a_database_on_a_network_share_is_named(tmp_path, monkeypatch):
    server = ServerSettings(data_dir=tmp_path / "my data" / "cdsel")
    mounts = tmp_path / "mounts"
    share = str(tmp_path / "my data").replace(" ", "\\040")  # as the system writes it
    for kind, level in (("nfs4", "warning"), ("cifs", "warning"), ("ext4", "ok")):
        mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nfiler:/x {share} {kind} rw 0 0\n")
        assert check_file_system(server, mounts).level == level
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nfiler:/x {share} nfs4 rw 0 0\n")
    found = check_file_system(server, mounts)
    assert "on a network file system (nfs4)" in found.message
    assert "or CDSEL_DATABASE_URL to PostgreSQL" in found.fix
    monkeypatch.setenv("CDSEL_DATABASE_URL", "postgresql+psycopg://u@h/cdsel")
    assert check_file_system(ServerSettings(data_dir=server.data_dir), mounts).level == "ok"
    monkeypatch.delenv("CDSEL_DATABASE_URL")
    assert check_file_system(server, tmp_path / "none").level == "ok"  # not on Linux


def test_a_file_system_without_locks_is_named_with_the_fix(tmp_path):
    fault = OperationalError("PRAGMA", {}, sqlite3.OperationalError("database is locked"))
    said = not_opened(fault, tmp_path, f"sqlite:///{tmp_path / 'cdsel.sqlite3'}")
    assert "the database does not open (database is locked): end the other program" in said
    assert (
        "its file system has no locks, as some network shares have none: set CDSEL_DATA_DIR to a disk" in said
    )


def test_a_data_folder_that_could_not_be_written_for_a_while_is_taken_up_again(store):
    with store.engine.connect() as connection:  # it goes back to the others as it is
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(OperationalError) as failed:
        store.beat("a worker", moved=True)
    assert sentence(failed.value).startswith("the database takes no changes (attempt to write a readonly")
    store.beat("a worker", moved=True)


def test_workers_that_cannot_write_that_they_live_are_not_called_dead(store, tmp_path):
    store.beat("a worker", moved=True)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE workers SET alive_at = alive_at - 100")
    server = ServerSettings(data_dir=tmp_path)
    assert find_problems(server, store)[0].startswith("No worker has been alive")
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    assert find_problems(server, store)[0].startswith(
        "The database takes no changes (attempt to write a readonly"
    )


def test_a_file_in_the_place_of_the_data_folder_is_named(tmp_path):
    (tmp_path / "data").touch()
    found = CliRunner().invoke(main, ["pool", "stats"], env={"CDSEL_DATA_DIR": str(tmp_path / "data")})
    assert "CDSEL_DATA_DIR" in found.output
    assert "File exists" in found.output


def test_a_port_in_use_ends_the_start_with_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ClickException, match=rf"nothing can listen on 127\.0\.0\.1, port {port} .*--port"
        ):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
