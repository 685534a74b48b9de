"""Rows of the database as records: how a record's class says what a query asks for, and how its answer is read."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, select

R = TypeVar("R")
READ = "read"  # of a field's metadata: what makes its value from what the database holds


def columns(kind: type[Any], table: Table) -> Select[Any]:
    """A query for the columns of a record, in its order."""
    return select(*(table.c[field.name] for field in fields(kind)))


def records(connection: Connection, kind: type[R], query: Select[Any]) -> list[R]:
    """Ask a query that `columns` began; returns its rows as records."""
    found = connection.execute(query)
    names = list(found.keys())  # of a record with defaults a query may leave the last columns out
    readers = [
        (index, field.metadata[READ])
        for index, field in enumerate(fields(kind)[: len(names)])  # type: ignore[arg-type]
        if READ in field.metadata
    ]
    if not readers:
        return [kind(*row) for row in found.all()]
    made = []
    for row in found.all():  # at once: one after the other costs more than the records
        values = list(row)
        for index, read in readers:
            values[index] = read(values[index])
        made.append(kind(*values))
    return made
