"""Sessions of nox: the fast tests on each Python, what is built and installed, and the checks.

`nox` runs the fast tests on every supported Python that is found; others are skipped. `nox -s packages` builds the
sdist and the wheel and runs what they install, `nox -s checks` does what pre-commit does. `pip install nox` gives nox.
"""

from __future__ import annotations

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
nox.options.sessions = ["fast"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def fast(session: nox.Session) -> None:
    """The tests that need no Label Studio, browser or PostgreSQL."""
    session.install("-e", ".[test,peers]")
    session.run("pytest", "-m", "fast", *session.posargs)


@nox.session
def packages(session: nox.Session) -> None:
    """The sdist and the wheel, built and installed in folders without the source."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n0", "-m", "slow", "tests/reliability/test_packages.py", *session.posargs)


@nox.session
def checks(session: nox.Session) -> None:
    """Lint, types and the import contract."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "cdsel_backend")
    session.run("lint-imports")
