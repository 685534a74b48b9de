"""`cdsel doctor`: looks at everything that an installation needs, and says what to do about what is not well."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from cdsel_backend.labelstudio.checkup import CheckResult, check_backend, check_studio, check_switches
from cdsel_backend.labelstudio.client import (
    LabelStudio,
    LabelStudioError,
    LabelStudioUnreachable,
    TokenRefused,
    studio_at,
)
from cdsel_backend.labelstudio.project_checkup import check_connection, check_project, check_webhooks
from cdsel_backend.labelstudio.releases import token_advice
from cdsel_backend.phrases import number_of
from cdsel_backend.project.addresses import webhook
from cdsel_backend.project.sentences.problems import connected_elsewhere
from cdsel_backend.project.sentences.settings import refused_alone
from cdsel_backend.server import machine_checkup
from cdsel_backend.server.source_checkup import check_sources
from cdsel_backend.settings import (
    ProjectSettings,
    ServerSettings,
    environment_layer,
    read_server_settings,
    unread_variables,
)
from cdsel_backend.store import State, Store

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
    removable = [finding for finding in findings if finding.webhook is not None]
    removed = _remove(removable, yes=yes, quiet=as_json) if fix else []
    if as_json:
        click.echo(json.dumps([_row(finding, removed) for finding in findings], indent=2, ensure_ascii=False))
    elif removable and not fix:
        click.echo(
            f"\n`cdsel doctor --fix` removes {number_of(len(removable), 'webhook')} that nobody needs, after asking."
        )
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def examine() -> Iterator[CheckResult]:
    """Every finding, cheap ones first; what depends on something that is broken is not looked at."""
    yield from machine_checkup.check_packages()
    try:
        server = read_server_settings()
    except ValueError as fault:
        yield CheckResult("settings", "problem", str(fault), "correct the variable in the environment")
        return
    defaults, refusals = environment_layer()
    for refusal in refusals:
        fix = "correct the variable in the environment: `cdsel serve` does not start until then"
        yield CheckResult("settings", "problem", refused_alone(refusal), fix)
    for name, near in unread_variables().items():
        fix = "correct its name in the environment, or take it away"
        yield CheckResult("settings", "warning", f"{name} is not read: did you mean {near}?", fix)
    yield from machine_checkup.check_device(server)
    yield machine_checkup.check_disk(server)
    database = machine_checkup.check_database(server)
    yield database
    store = Store.open(server) if database.level == "ok" else None
    try:
        states = [State(store, project.id) for project in store.projects()] if store is not None else []
        if store is not None:
            yield machine_checkup.check_data_folder(server, store)
            yield machine_checkup.check_connections(store)
        known = [server.public_url, *(state.project.backend_url for state in states)]
        addresses = list(dict.fromkeys(address.rstrip("/") for address in known if address)) or [USUAL]
        yield machine_checkup.check_login(server, [*addresses, server.dashboard_url])
        settings = [state.settings for state in states] or [ProjectSettings.model_validate(defaults)]
        yield from machine_checkup.check_weights(
            dict.fromkeys((project.backbone, project.backbone_weights) for project in settings)
        )
        yield from _studio(server, states, addresses)
    finally:
        if store is not None:
            store.close()


def _studio(server: ServerSettings, states: list[State], addresses: list[str]) -> Iterator[CheckResult]:
    """The Label Studio of the environment; the token goes nowhere else."""
    if not server.label_studio_url:
        fix = "set it to the address of Label Studio: `cdsel serve` does not start without it"
        yield CheckResult("Label Studio", "problem", "LABEL_STUDIO_URL is not set", fix)
    if not server.label_studio_api_key:
        fix = f"{token_advice('')}, and set LABEL_STUDIO_API_KEY to it"
        yield CheckResult("Label Studio", "problem", "LABEL_STUDIO_API_KEY is not set", fix)
    if not server.label_studio_url or not server.label_studio_api_key:
        return
    own = [state for state in states if state.project.studio_url == server.label_studio_url]
    for state in states:
        if state not in own:
            message, fix = connected_elsewhere(state.project.studio_url)
            yield CheckResult("project", "warning", message, fix, state.project.pool_project)
    try:
        studio = studio_at(server, server.label_studio_url)
        yield from check_studio(studio, server.label_studio_api_key)
        for backend in addresses:
            yield check_backend(backend)
            yield from check_switches(studio, backend)
        yield from _projects(server, studio, own)
    except TokenRefused as fault:
        message, _, fix = str(fault).rpartition("; ")
        yield CheckResult("Label Studio", "problem", message, fix)
    except LabelStudioUnreachable as fault:
        fix = "start Label Studio, or set LABEL_STUDIO_URL to the address at which this machine reaches it"
        yield CheckResult("Label Studio", "problem", str(fault), fix)
    except LabelStudioError as fault:
        yield CheckResult("Label Studio", "problem", str(fault), "look at Label Studio's log")


def _projects(server: ServerSettings, studio: LabelStudio, states: list[State]) -> Iterator[CheckResult]:
    if not states:
        fix = "Settings > Model > Connect Model in a project of Label Studio"
        yield CheckResult("projects", "warning", "no project is connected yet", fix)
    expected, connected = {}, {}
    for state in states:
        pool = state.project.pool_project
        checks = list(check_project(studio, pool, outside=bool(state.store.sources(state.project.id))))
        yield from checks
        if checks[0].subject == "project":
            continue
        yield from check_sources(studio, state)
        url, headers = webhook(server, state)
        connected[pool] = [row["url"] for row in studio.backends(pool)]
        yield check_connection(connected[pool], pool, url.removesuffix("/webhook"))
        for source in state.sources:
            expected[source] = url, headers
        for problem in state.problems:
            fix = "look at the project's overview: it says more, and can dismiss it"
            yield CheckResult("said by the worker", "warning", problem.message, fix, pool)
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


def _row(finding: CheckResult, removed: list[int]) -> dict[str, object]:
    row: dict[str, object] = {"subject": finding.subject, "level": finding.level, "project": finding.project}
    row |= {"message": finding.message, "fix": finding.fix}
    if finding.webhook:
        row |= {"webhook": finding.webhook, "removed": finding.webhook in removed}
    return row


def _line(finding: CheckResult) -> str:
    where = f"project {finding.project}: " if finding.project is not None else ""
    return f"{where}{finding.subject}: {finding.message}"


def _show(finding: CheckResult) -> None:
    mark, colour = MARKS[finding.level]
    click.echo(f"{click.style(mark, fg=colour)}  {_line(finding)}")
    if finding.fix:
        click.echo(f"         fix: {finding.fix}")
