"""Lists of names and numbers as options of `cdsel simulate`."""

from __future__ import annotations

from typing import Any

import click

from cdsel_backend.table import names_given


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them; one that holds a comma in quotation marks."""

    name = "a,b"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names."""
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(names_given(str(value))))


class Budgets(Names):
    """Whole numbers with commas between them, in rising order."""

    name = "n,n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Return the numbers."""
        parts = [str(part) for part in super().convert(value, param, ctx)]
        if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(
                f"{value!r} is no list of whole numbers above 0; write for example 100,200,400", param, ctx
            )
        return tuple(sorted({int(part) for part in parts}))


class Correlations(Names):
    """`natural`, or numbers strictly between 0 and 1."""

    name = "natural|rho,rho"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return "natural" and numbers as text, each once."""
        found = []
        for part in super().convert(value, param, ctx):
            try:
                good = part == "natural" or 0 < float(part) < 1
            except ValueError:
                good = False
            if not good:
                self.fail(f"{part!r} is neither natural nor a number above 0 and below 1", param, ctx)
            found.append(part if part == "natural" else f"{float(part):g}")
        if not found:
            self.fail("name natural, or numbers such as .5,.8,.95", param, ctx)
        return tuple(dict.fromkeys(found))
