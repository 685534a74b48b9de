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
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote

from cdsel_backend.phrases import as_typed, number_of

Row = Mapping[str, str]
Cells = Mapping[str, object]
"""A row of a CSV file that we write: column -> cell."""
GZIP = b"\x1f\x8b"  # the first bytes of a compressed file
_SIGNATURES = (
    (b"PK\x03\x04", "a spreadsheet (.xlsx) or an archive (.zip)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook of Excel (.xls)"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\0", "a database of SQLite"),
    (b"%PDF", "a PDF file"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"$FL2", "a data file of SPSS"),
    (b"<html", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<table", "a web page"),
    (b"<?xml", "an XML file"),
)
"""What is named as a table by mistake: how it begins -> what it is."""
_LONGEST_SIGNATURE = 64  # bytes looked at, blanks before it among them
BROKEN = 3  # rows that cannot be read that a message names
SEPARATORS = "\t;|,"  # of cells, that a header may have; the last ones stand in names and numbers, too
TITLES = 20  # lines above a header, at most
LINES = 500  # of a CSV file that are written at once
LONGEST_LINE = 64 * 2**20  # characters that are read of one line: a list of JSON may stand on one
BYTE_ORDER_MARK = "\ufeff"  # spreadsheets read UTF-8 only with it


class UsageError(ValueError):
    """An option, file or column that cannot be used; the message names it and the fix."""


def read_table(path: Path) -> list[Row]:
    """Read a CSV table with a header, in UTF-8 or UTF-16; the delimiter may be a comma, a semicolon, a tab or `|`.

    Cells that a row lacks at its end are empty. The header again, as where tables were put together, says nothing; its
    line keeps its number.

    Raises UsageError when it cannot be read as one, has no rows, or one of them cannot be read.
    """
    rows: list[Row] = []
    broken: list[str] = []
    try:
        with path.open("rb") as file:
            names, found = csv_cells(file)
            for number, cells in enumerate(found, start=1):
                if isinstance(cells, str):
                    broken.append(f"row {number}: {cells}")
                elif len(cells) > len(names):
                    count = number_of(len(cells), "value")
                    broken.append(f"row {number}: {count} for {number_of(len(names), 'column')}")
                elif cells:
                    again = is_header(cells, names)
                    cells = [""] * len(names) if again else cells + [""] * (len(names) - len(cells))
                    rows.append({name: cell for name, cell in zip(names, cells, strict=True) if name})
    except UsageError as fault:
        raise UsageError(f"--metadata: {path}: {fault}") from fault
    except UnicodeError as fault:
        raise UsageError(
            f'--metadata: {path} is no text in UTF-8: save it as "CSV UTF-8" ({fault})'
        ) from fault
    except FileNotFoundError as fault:
        raise UsageError(
            f"--metadata: {path}: there is no such file; see its name, and that it is mounted"
        ) from fault
    except (csv.Error, OSError, EOFError, zlib.error) as fault:
        raise UsageError(f"--metadata: {path} cannot be read as a CSV table in UTF-8 ({fault})") from fault
    if broken:
        named = "; ".join(broken[:BROKEN])
        more = f"; and {number_of(len(broken) - BROKEN, 'more row')}" if len(broken) > BROKEN else ""
        raise UsageError(
            f"--metadata: {number_of(len(broken), 'row')} of {path} cannot be read: {named}{more}. "
            "Correct them: a cell that holds the separator stands in quotation marks, and each has two"
        )
    if not rows:
        if not "".join(names).isprintable():
            raise UsageError(f"--metadata: {path} cannot be read as a CSV table (its header is no text)")
        raise UsageError(f"--metadata: {path} has no rows below its header")
    return rows


def csv_cells(file: BinaryIO) -> tuple[list[str], Iterator[list[str] | str]]:
    """The names of the columns of a CSV file, "" where one has none, and of each row its cells, or why it has none.

    Raises UsageError where its header cannot be used.
    """
    lines, delimiter = csv_source(file)
    names = _names(next(csv.reader(lines, delimiter=delimiter), []))
    if names and names[0][:1] in ("[", "{"):
        raise UsageError(
            "it is JSON, and a CSV table is needed: choose CSV where Label Studio exports annotations, or write one "
            "with a row for each image"
        )
    double = sorted({name for name in names if name and names.count(name) > 1})
    if double:
        raise UsageError(
            f"its header names {', '.join(map(repr, double))} more than once: rename one of the columns"
        )
    return names, _cells(lines, delimiter, names)


def _names(cells: Iterable[str]) -> list[str]:
    return [as_typed(plain_text(cell)) for cell in cells]


def is_header(cells: Iterable[str], names: Sequence[str]) -> bool:
    """Whether a row is the header again, as where tables were put together."""
    return _names(cells) == names


def _cells(lines: Iterator[str], delimiter: str, names: Sequence[str]) -> Iterator[list[str] | str]:
    """The cells of each row, or why it could not be read; `names` are those of the columns.

    A quotation mark that is never closed costs its own line: those that its cell would have swallowed are read again.
    """
    width = len(names)
    ahead: deque[str] = deque()
    taken: list[str] = []

    def feed() -> Iterator[str]:
        while line := ahead.popleft() if ahead else next(lines, ""):
            taken.append(line)
            yield line

    reader = csv.reader(feed(), delimiter=delimiter)
    while True:
        taken.clear()
        try:
            cells = next(reader, None)
            reason = ""
        except csv.Error as error:
            long = _too_long(taken, delimiter, names)
            cells, reason = [], long or f"no row of a table ({error})"
        if cells is None:
            return
        if len(taken) > 1 and (reason or not _is_one_row(taken, delimiter, width)):
            reason = "a quotation mark is not closed"
            ahead.extendleft(reversed(taken[1:]))
        if reason:
            reader = csv.reader(feed(), delimiter=delimiter)
        yield reason or [plain_text(cell) for cell in _without_end(cells, width)]


def _too_long(lines: Sequence[str], delimiter: str, names: Sequence[str]) -> str:
    """That a row of one line has a cell which is longer than cells are read, with the fix; "" where it has none."""
    most = csv.field_size_limit()
    if len(lines) != 1 or len(lines[0]) <= most:
        return ""
    csv.field_size_limit(len(lines[0]))
    try:
        cells = next(csv.reader(lines, delimiter=delimiter), [])
    finally:
        csv.field_size_limit(most)
    named = [name for name, cell in zip(names, cells, strict=False) if len(cell) > most]
    return (
        f"the cell of column {named[0]!r} has more than {most:,} characters, which is no metadata: shorten it, "
        "close its quotation mark, or leave the column out of the table"
        if named
        else ""
    )


def _is_one_row(lines: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether lines are one row with as many cells as it should have, whose quotation marks are where they belong."""
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return len(rows) == 1 and len(_without_end(rows[0], width)) == width


def _without_end(cells: list[str], width: int) -> list[str]:
    """The cells of a row without the empty ones that spreadsheets end rows with."""
    return cells if any(cells[width:]) else cells[:width]


def plain_text(text: str) -> str:
    """A text without what databases refuse: NUL, and halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def decoded(file: BinaryIO, newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file in UTF-8 or UTF-16, as Excel writes "Unicode text".

    Whether it is compressed by gzip the file says, whatever its name is: browsers unpack what they download.

    Raises:
        UsageError: it is no text, but a file of a kind that is known by its first bytes.
    """
    head = file.read(_LONGEST_SIGNATURE)
    file.seek(0)
    if head.startswith(GZIP):
        file = cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
        head = file.read(_LONGEST_SIGNATURE)
        file.seek(0)
    begins = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    kind = next((kind for start, kind in _SIGNATURES if begins.startswith(start.lower())), None)
    if kind is not None:
        fix = (
            "name it .parquet"
            if "Parquet" in kind
            else "save the table as CSV (UTF-8) in the program that made it, and name that file"
        )
        raise UsageError(f"it is {kind}, whatever its name says: {fix}")
    return io.TextIOWrapper(file, encoding=_encoding(head), newline=newline)


def text_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a table.

    Raises:
        UsageError: one is so long that the file is none, as where a gap of zeros was never filled, or a small file
            unpacks to fill the memory.
    """
    number = 1
    while line := text.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            zeros = not line.strip("\0")
            why = (
                ", all zeros: it was not copied whole, so bring it here again"
                if zeros
                else ": it is no table"
            )
            raise UsageError(f"its line {number:,} has more than {LONGEST_LINE:,} characters{why}")
        yield line
        number += 1


def _encoding(head: bytes) -> str:
    """The encoding of a text by its first bytes; UTF-16 without a mark has NUL beside its first letter."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) > 1 and (head[0] == 0) != (head[1] == 0):
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def csv_source(file: BinaryIO) -> tuple[Iterator[str], str]:
    """The lines of a CSV file from its header on, and what separates its cells."""
    # Python 3.10 refuses a line with NUL, which no database takes, either.
    lines: Iterator[str] = (line.replace("\0", "\ufffd") for line in text_lines(decoded(file, newline="")))
    lines = itertools.dropwhile(lambda line: not line.strip(), lines)
    head = next(lines, "")
    named = re.fullmatch(r"sep=(.)\s*", head)  # what Excel writes, and hides, before the header
    header = next(lines, "") if named else head
    while header.startswith("#"):  # a comment, unless it has as many cells as the line below
        below = next(lines, "")
        if max(map(header.count, SEPARATORS)) == max(map(below.count, SEPARATORS)) or not below:
            lines = itertools.chain([below], lines)
            break
        header = below
    ahead = [header, *itertools.islice(lines, TITLES)]
    delimiter = named[1] if named else ""
    ahead = _with_whole_header(ahead, delimiter)
    filled = [number for number, line in enumerate(ahead) if line.strip()] or [0]
    titles = _titles([ahead[number] for number in filled], delimiter)
    header, *ahead = ahead[filled[titles] :]
    return itertools.chain([header], ahead, lines), delimiter or _delimiter(header, ahead)


def _delimiter(line: str, below: Sequence[str] = ()) -> str:
    """What separates the cells of a line: of what it holds, what parts most of those below into as many cells.

    `Size, cm;Weight, kg` has as many commas as semicolons.
    """

    def widths(lines: Sequence[str], delimiter: str) -> list[int]:
        try:
            return [len(cells) for cells in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:
            return []

    def fit(delimiter: str) -> tuple[int, int]:
        width = sum(widths([line], delimiter))
        if width < 2:  # it stands in quotation marks only
            return 0, width
        each = [sum(widths([text], delimiter)) for text in below]
        together = widths([line, *below], delimiter)[1:]  # where cells hold line breaks
        return max(each.count(width), together.count(width)), width

    found = [delimiter for delimiter in SEPARATORS if delimiter in line]
    if len(found) < 2:
        return found[0] if found else ","
    return max(found, key=fit)


def _with_whole_header(lines: Sequence[str], delimiter: str) -> list[str]:
    """The first lines of a table, its header in one where a name holds a line break, as Excel writes them.

    It is a header where it has as many cells as the line below, several of them.
    """
    for start, end in itertools.combinations(range(len(lines)), 2):
        whole = "".join(lines[start:end])
        if end - start < 2 or whole.count('"') % 2 or not lines[start].count('"') % 2:
            continue
        own = delimiter or _delimiter(whole, lines[end:])
        try:
            width = len(next(csv.reader(lines[end:], delimiter=own), []))
        except csv.Error:
            continue
        if width > 1 and _is_one_row(lines[start:end], own, width):
            return [*lines[:start], whole, *lines[end:]]
    return list(lines)


def _titles(lines: Sequence[str], delimiter: str) -> int:
    """How many lines are above a table's header: they have a cell at most, and those that follow have several."""

    def cells(line: str) -> int:
        try:
            row = next(csv.reader([line], delimiter=delimiter or _delimiter(line)), [])
        except csv.Error:
            return 0
        return sum(bool(cell.strip()) for cell in row)

    first = next((number for number, line in enumerate(lines) if cells(line) > 1), 0)
    below = [cells(line) for line in lines[first + 1 : first + 2]]
    return first if first == 1 or all(count > 1 for count in below) else 0


def names_given(text: str) -> list[str]:
    """The names of columns in an option: with commas between them, one that holds a comma in quotation marks."""
    try:
        parts = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        parts = text.split(",")
    return [part.strip() for part in parts if part.strip()]


def require(rows: Sequence[Row], option: str, column: str) -> None:
    """Raise UsageError unless the table has the column."""
    if column in rows[0]:
        return
    whole = next((name for name in rows[0] if column in [part.strip() for part in name.split(",")]), None)
    quoted = f'"{whole}"'
    hint = (
        f"; a name that holds a comma stands in quotation marks of its own: {option} {quoted!r}"
        if whole
        else ""
    )
    raise UsageError(f"{option}: the table has no column {column!r}; it has {', '.join(rows[0])}{hint}")


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
    writer.writerow({name: csv_cell(name) for name in columns})
    for number, row in enumerate(rows, 1):
        writer.writerow({key: csv_cell(value) for key, value in row.items()})
        if number % LINES == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


_FORMULA = re.compile(r"^(?=\s*[=+\-@＝＋－＠]|[\t\r\n])|(?<=;)(?=\s*[=+\-@＝＋－＠])")
"""Where a spreadsheet may begin a formula: at the start of a cell, and after a semicolon, at which one whose country
writes decimals with a comma cuts the lines of any CSV file."""


def csv_cell(value: object) -> object:
    """Return a value as a cell: lists and mappings as JSON, and text so that no spreadsheet runs it as a formula."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    return _FORMULA.sub("'", value) if isinstance(value, str) else value
