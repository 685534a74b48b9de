"""Tables as CSV files: those of images that the commands are given, and what goes into those that we write."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote

from cdsel_backend.counted import number_of

Row = Mapping[str, str]
Cells = Mapping[str, object]
"""A row of a CSV file that we write: column -> cell."""
GZIP = b"\x1f\x8b"  # the first bytes of a compressed file
LINES = 500  # of a CSV file that are written at once
BYTE_ORDER_MARK = "\ufeff"  # spreadsheets read UTF-8 only with it


class UsageError(ValueError):
    """An option, file or column that cannot be used; the message names it and the fix."""


def read_table(path: Path) -> list[Row]:
    """Read a CSV table with a header, in UTF-8 or UTF-16; the delimiter may be a comma, a semicolon or a tab.

    Raises UsageError when it cannot be read as one, or has no rows.
    """
    try:
        with path.open("rb") as file:
            lines, delimiter = csv_source(file)
            reader = csv.DictReader(lines, delimiter=delimiter)
            names = [name for name in reader.fieldnames or () if name]
            if names and names[0].lstrip()[:1] in ("[", "{"):
                raise UsageError(
                    f"--metadata: {path} is JSON, and a CSV table is needed: choose CSV where Label Studio exports "
                    "annotations, or write one with a row for each image"
                )
            double = next((name for name in names if names.count(name) > 1), None)
            if double is not None:
                raise UsageError(
                    f"--metadata: {path} names the column {double!r} more than once: rename one of them"
                )
            rows: list[Row] = [
                # The header again, as where tables were put together, says nothing; its line keeps its number.
                {key: "" if key == value and again else value or "" for key, value in row.items() if key}
                for row in reader
                for again in [all(value == key for key, value in row.items())]
            ]
    except UnicodeError as fault:
        raise UsageError(
            f'--metadata: {path} is no text in UTF-8: save it as "CSV UTF-8" ({fault})'
        ) from fault
    except csv.Error as fault:
        raise UsageError(
            f"--metadata: line {reader.line_num + 1} of {path} is no row of a CSV table ({fault}): a cell has at most "
            f"{csv.field_size_limit():,} characters, and what begins with a quotation mark ends with one"
        ) from fault
    except (OSError, EOFError, zlib.error) as fault:
        raise UsageError(f"--metadata: {path} cannot be read as a CSV table in UTF-8 ({fault})") from fault
    if not rows:
        if not "".join(names).isprintable():
            raise UsageError(f"--metadata: {path} cannot be read as a CSV table (its header is no text)")
        raise UsageError(f"--metadata: {path} has no rows below its header")
    return rows


def decoded(file: BinaryIO, newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file in UTF-8, or in UTF-16 with a mark of its own, as Excel writes "Unicode text".

    Whether it is compressed by gzip the file says, whatever its name is: browsers unpack what they download.
    """
    head = file.read(2)
    file.seek(0)
    if head == GZIP:
        file = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
        head = file.read(2)
        file.seek(0)
    marked = head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return io.TextIOWrapper(file, encoding="utf-16" if marked else "utf-8-sig", newline=newline)


def csv_source(file: BinaryIO) -> tuple[Iterator[str], str]:
    """The lines of a CSV file from its header on, and what separates its cells."""
    # Python 3.10 refuses a line with NUL, which no database takes, either.
    lines: Iterator[str] = (line.replace("\0", "\ufffd") for line in decoded(file, newline=""))
    lines = itertools.dropwhile(lambda line: not line.strip(), lines)
    head = next(lines, "")
    named = re.fullmatch(r"sep=(.)\s*", head)  # what Excel writes, and hides, before the header
    header = next(lines, "") if named else head
    while header.startswith("#"):  # a comment, unless it has as many cells as the line below
        below = next(lines, "")
        if max(map(header.count, ",;\t")) == max(map(below.count, ",;\t")) or not below:
            lines = itertools.chain([below], lines)
            break
        header = below
    return itertools.chain([header], lines), named[1] if named else max(",;\t", key=header.count)


def require(rows: Sequence[Row], option: str, column: str) -> None:
    """Raise UsageError unless the table has the column."""
    if column not in rows[0]:
        raise UsageError(f"{option}: the table has no column {column!r}; it has {', '.join(rows[0])}")


def require_images(rows: Sequence[Row], folder: Path, column: str) -> None:
    """Raise UsageError unless the column is there and at least one of its files lies in the folder."""
    require(rows, "--image-column", column)
    if not any(image_file(folder, row[column]).is_file() for row in rows if row[column].strip()):
        raise UsageError(
            f"--images: none of the {number_of(len(rows), 'file')} of column {column!r} is there; the first was looked "
            f"for at {image_file(folder, rows[0][column])}. Name the folder that the column's paths start from"
        )


def image_file(folder: Path, cell: str) -> Path:
    """The file below a folder that a cell names: by its path, or as Label Studio writes the addresses of its own files.

    Those begin where Label Studio keeps them: local files in its document root, uploads in its folder for media.
    """
    cell = plain_path(cell)
    address = re.fullmatch(
        r"(?:https?://[^/]+)?(?:/[^?]*)?/data/(?:local-files/\?d=|(?=upload/))(.+)", cell.strip()
    )
    named = folder / (unquote(address[1]).lstrip("/") if address else cell)
    if "\\" in cell and not named.is_file():  # a path that Windows wrote
        return folder / cell.replace("\\", "/")
    return named


def plain_path(address: str) -> str:
    """The path of an address such as file:///images/a%20b.png; other addresses, and paths, as they are."""
    return unquote(address[7:]) if address.startswith("file:///") else address


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
