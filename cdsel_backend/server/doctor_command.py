"""`cdsel doctor`: looks at everything that an installation needs, and says what to do about what is not well."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from cdsel_backend import __version__
from cdsel_backend.labelstudio.checkup import (
    CheckResult,
    check_backend,
    check_connection,
    check_project,
    check_studio,
    check_switches,
    check_webhooks,
)
from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioError
from cdsel_backend.project.addresses import webhook
from cdsel_backend.project.wording import refused
from cdsel_backend.settings import ServerSettings, environment_layer, read_server_settings
from cdsel_backend.store import State, Store

LITTLE, FEW = 1 << 30, 5 << 30  # bytes free: too few to go on, and few enough to say so
USUAL = "http://127.0.0.1:9090"
MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "problem": ("problem", "red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
@click.option("--fix", is_flag=True, help="Remove orphan and duplicate webhooks, after asking.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
def doctor(as_json: bool, fix: bool, yes: bool) -> None:
    """Check address, token, switches, webhooks, images, disk, GPU and versions; say what to do.

    Reads the same environment as `cdsel serve`, and changes nothing without --fix. The exit status is 1 when there is
    a problem, else 0.
    """
    if as_json and fix and not yes:
        raise click.UsageError("--json cannot ask: give --yes, too")
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    removable = [one for one in findings if one.webhook is not None]
    removed = _remove(removable, yes=yes, quiet=as_json) if fix else []
    if as_json:
        rows = [
            {"subject": one.subject, "level": one.level, "project": one.project, "words": one.words}
            | ({"webhook": one.webhook, "removed": one.webhook in removed} if one.webhook else {})
            for one in findings
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif removable and not fix:
        click.echo(f"\n`cdsel doctor --fix` removes {len(removable)} of these webhooks, after asking.")
    if any(one.level == "problem" for one in findings):
        raise SystemExit(1)


def examine() -> Iterator[CheckResult]:
    """Every finding, cheap ones first; what depends on something that is broken is not looked at."""
    yield from _versions()
    try:
        server = read_server_settings()
    except ValueError as fault:
        yield CheckResult("settings", "problem", str(fault))
        return
    faults = [refused(one) for one in environment_layer()[1]]
    yield from (CheckResult("settings", "problem", fault) for fault in faults)
    yield _device(server)
    yield _disk(server)
    store = None
    try:
        found = _database(server)
        yield found
        if found.level == "ok":
            store = Store(server.database_url, server.vectors_folder)
    except SQLAlchemyError as fault:
        yield CheckResult("database", "problem", f"CDSEL_DATABASE_URL: it does not open: {fault}")
    try:
        yield from _studio(server, store)
    finally:
        if store is not None:
            store.close()


def _versions() -> Iterator[CheckResult]:
    named = []
    for package in ("torch", "timm", "label-studio-sdk", "sqlalchemy"):
        try:
            named.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield CheckResult(
                "versions", "problem", f"{package} is not installed: pip install cdsel-backend again"
            )
    yield CheckResult(
        "versions", "ok", f"cdsel {__version__}, Python {platform.python_version()}, {', '.join(named)}"
    )


def _device(server: ServerSettings) -> CheckResult:
    import torch  # slow to load: not for those who ask for --help

    if torch.cuda.is_available():
        if server.device == "cpu":
            return CheckResult("device", "warning", "there is a GPU, but CDSEL_DEVICE is cpu")
        return CheckResult("device", "ok", f"GPU {torch.cuda.get_device_name()}")
    if server.device == "cuda":
        return CheckResult(
            "device",
            "problem",
            "CDSEL_DEVICE is cuda, but torch finds no GPU: set it to auto, or see that the driver and a CUDA build of "
            "torch are installed",
        )
    return CheckResult(
        "device", "ok", "no GPU: images are embedded on the CPU, which takes longer and gives the same"
    )


def _disk(server: ServerSettings) -> CheckResult:
    folder = next(one for one in (server.data_dir, *server.data_dir.absolute().parents) if one.exists())
    free = shutil.disk_usage(folder).free
    words = f"{free / (1 << 30):.1f} GB free for CDSEL_DATA_DIR, {server.data_dir}"
    if not _writable(folder):
        return CheckResult("disk", "problem", f"CDSEL_DATA_DIR: {folder} cannot be written by this account")
    if free < LITTLE:
        return CheckResult("disk", "problem", f"{words}: make room, or the database cannot grow")
    return (
        CheckResult("disk", "warning", f"{words}: that is little")
        if free < FEW
        else CheckResult("disk", "ok", words)
    )


def _writable(folder: Path) -> bool:
    from os import W_OK, access

    return access(folder, W_OK)


def _database(server: ServerSettings) -> CheckResult:
    url = make_url(server.database_url)
    if url.get_backend_name() != "sqlite":
        Store(server.database_url, server.vectors_folder).close()
        return CheckResult("database", "ok", url.render_as_string(hide_password=True))
    if url.database and not Path(url.database).exists():
        return CheckResult("database", "warning", f"{url.database} is not there yet: `cdsel serve` makes it")
    return CheckResult("database", "ok", f"SQLite, {url.database}")


def _studio(server: ServerSettings, store: Store | None) -> Iterator[CheckResult]:
    """The Label Studio of the environment; the token goes nowhere else."""
    projects = store.projects() if store is not None else []
    if not server.label_studio_url:
        words = "set LABEL_STUDIO_URL to the address of Label Studio: `cdsel serve` does not start without it"
        yield CheckResult("Label Studio", "problem", words)
    if not server.label_studio_api_key:
        words = (
            "set LABEL_STUDIO_API_KEY to a token (Label Studio: Account & Settings > Personal Access Token)"
        )
        yield CheckResult("Label Studio", "problem", words)
    if not server.label_studio_url or not server.label_studio_api_key:
        return
    own = [one.id for one in projects if one.studio_url == server.label_studio_url]
    for other in projects:
        if other.id not in own:
            words = (
                f"it was connected from {other.studio_url}, and LABEL_STUDIO_URL is another address: it stands still; "
                "where both are the same Label Studio, set LABEL_STUDIO_URL to the former address"
            )
            yield CheckResult("project", "warning", words, other.pool_project)
    try:
        studio = LabelStudio(
            server.label_studio_url,
            server.label_studio_api_key,
            image_hosts=server.image_hosts,
            image_roots=server.image_roots,
        )
        yield check_studio(studio)
        yield from _connections(server, store, studio, own)
    except LabelStudioError as fault:
        yield CheckResult("Label Studio", "problem", str(fault))


def _connections(
    server: ServerSettings, store: Store | None, studio: LabelStudio, projects: list[int]
) -> Iterator[CheckResult]:
    states = [State(store, project) for project in projects] if store is not None else []
    known = [server.public_url, *(state.project.backend_url for state in states)]
    backends = list(dict.fromkeys(address.rstrip("/") for address in known if address)) or [USUAL]
    for backend in backends:
        yield check_backend(backend)
        yield from check_switches(studio, backend)
    if not states:
        words = "no project is connected yet: Settings > Model > Connect Model in a project of Label Studio"
        yield CheckResult("projects", "warning", words)
    expected, connected = {}, {}
    for state in states:
        pool = state.project.pool_project
        checks = list(check_project(studio, pool))
        yield from checks
        if checks[0].subject == "project":
            continue
        url, headers = webhook(server, state)
        yield check_connection(studio, pool, url.removesuffix("/webhook"))
        for source in state.sources:
            expected[source] = url, headers
        connected[pool] = [one["url"].rstrip("/") for one in studio.backends(pool)]
        for one in state.problems:
            yield CheckResult("said by the worker", "warning", one.message, pool)
    yield from check_webhooks(studio, expected, connected)


def _remove(findings: list[CheckResult], *, yes: bool, quiet: bool) -> list[int]:
    """Remove webhooks, each after a yes; returns the ids of those that are gone."""
    removed = []
    for finding in findings:
        if finding.webhook is None or not (yes or click.confirm(f"Remove? {_line(finding)}")):
            continue
        studio = LabelStudio(finding.studio, read_server_settings().label_studio_api_key)
        try:
            studio.delete_webhook(finding.webhook)
        except LabelStudioError as fault:
            raise click.ClickException(str(fault)) from None
        removed.append(finding.webhook)
        if not quiet:
            click.echo(f"webhook {finding.webhook} is removed")
    return removed


def _line(finding: CheckResult) -> str:
    where = f"project {finding.project}: " if finding.project is not None else ""
    return f"{where}{finding.subject}: {finding.words}"


def _show(finding: CheckResult) -> None:
    word, colour = MARKS[finding.level]
    click.echo(f"{click.style(word, fg=colour)}  {_line(finding)}")
