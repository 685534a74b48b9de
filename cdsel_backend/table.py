"""Tables as CSV files: those of images that the commands are given, and what goes into those that we write."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

Row = Mapping[str, str]
Cells = Mapping[str, object]
"""A row of a CSV file that we write: column -> cell."""
LINES = 500  # of a CSV file that are written at once
BYTE_ORDER_MARK = "\ufeff"  # spreadsheets read UTF-8 only with it


class UsageError(ValueError):
    """An option, file or column that cannot be used; the message names it and the fix."""


def read_table(path: Path) -> list[Row]:
    """Read a CSV table with a header; the delimiter may be a comma, a semicolon or a tab.

    Raises UsageError when it cannot be read as one, or has no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=head.count))
            rows: list[Row] = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UsageError(f"--metadata: {path} cannot be read as a CSV table in UTF-8 ({fault})") from fault
    names = [name for name in reader.fieldnames or () if name]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UsageError(f"--metadata: {path} names the column {double!r} more than once: rename one of them")
    if not rows:
        raise UsageError(f"--metadata: {path} has no rows below its header")
    return rows


def require(rows: Sequence[Row], option: str, column: str) -> None:
    """Raise UsageError unless the table has the column."""
    if column not in rows[0]:
        raise UsageError(f"{option}: the table has no column {column!r}; it has {', '.join(rows[0])}")


def require_images(rows: Sequence[Row], folder: Path, column: str) -> None:
    """Raise UsageError unless the column is there and at least one of its files lies in the folder."""
    require(rows, "--image-column", column)
    if not any((folder / row[column]).is_file() for row in rows if row[column].strip()):
        raise UsageError(
            f"--images: none of the {len(rows)} files of column {column!r} is there; the first was looked "
            f"for at {folder / rows[0][column]}. Name the folder that the column's paths start from"
        )


def csv_text(rows: Iterable[Cells]) -> str:
    """Return rows as a CSV file, whose columns are those of all rows in the order in which they first occur."""
    rows = list(rows)
    return "".join(csv_lines(list(dict.fromkeys(key for row in rows for key in row)), rows))


def csv_lines(columns: Sequence[str], rows: Iterable[Cells]) -> Iterator[str]:
    """Return a CSV file part by part, so that a large one is never held whole; cells of other columns are left out."""
    text = io.StringIO()
    text.write(BYTE_ORDER_MARK)
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    for number, row in enumerate(rows, 1):
        writer.writerow({key: csv_cell(value) for key, value in row.items()})
        if number % LINES == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def csv_cell(value: object) -> object:
    """Return a value as a cell: lists and mappings as JSON, and text so that no spreadsheet runs it as a formula."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
