"""What is wrong with the disk or the database, as a sentence; such faults need no trace in the log."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from cdsel_backend.whole_file import FULL

DATABASE = (OperationalError, InterfaceError, InternalError, NoConnection)
"""Faults of the database and of the way there; internal ones: it takes no changes, or has ended the session."""
DISK = (*FULL, errno.EIO, errno.EROFS)
_FULL_WORDS = ("disk is full", "no space left", "could not extend file")
_OWN_DISK = "set CDSEL_DATA_DIR to a disk of this machine, or CDSEL_DATABASE_URL to PostgreSQL"
_INPUT_OUTPUT = "disk i/o error"
LEAST_ROOM = 2**17  # bytes of a disk with which SQLite opens a database
_LOCKED = ("database is locked", "locking protocol")
_NO_RIGHT = "42501"  # PostgreSQL's code: insufficient privilege
_NOT_WRITABLE = ("readonly", "read-only", "unable to open", "permission denied")
_NO_CONNECTION_LEFT = ("too many connections", "too many clients", "connection slots")
_PASSWORD_REFUSED = "password authentication failed"
_NEW_PASSWORD = (
    "write the one that PostgreSQL accepts into it and start again, or into the file of CDSEL_DATABASE_URL_FILE, which "
    "is read again for each new connection"
)
MORE_CONNECTIONS = (
    "let PostgreSQL allow more connections (ALTER ROLE ... CONNECTION LIMIT, ALTER DATABASE ... CONNECTION LIMIT, or "
    "its setting max_connections), or end what else holds them"
)


def is_outside(fault: BaseException) -> bool:
    """Whether a fault is the disk's or the database's, and not one of this program."""
    if isinstance(fault, OSError):
        return fault.errno in DISK
    return isinstance(fault, DATABASE)


def not_opened(fault: OSError | SQLAlchemyError, folder: Path, database_url: str) -> str:
    """That the state in a data folder cannot be opened, why, and what to do, in one line without SQL."""
    return ": ".join(filter(None, problem_and_fix(fault, folder, database_url)))


def problem_and_fix(fault: OSError | SQLAlchemyError, folder: Path, database_url: str) -> tuple[str, str]:
    """Why the state in a data folder cannot be opened, and what to do, as far as that is known, in a line each."""
    reason = reason_of(fault)
    inside = Path(database_url.removeprefix("sqlite:///")).parent == folder
    closed = f"CDSEL_DATABASE_URL: the database does not open ({reason})"
    # Beside a full disk SQLite cannot even make the file by which its processes share what is being written.
    if _is_full(fault, reason) or (inside and _INPUT_OUTPUT in reason.lower() and _has_no_room(folder)):
        where = f"the disk of {folder} is full" if inside else "the disk of the database is full"
        return (
            f"CDSEL_DATA_DIR: {where} ({reason})",
            "make room there, and start again; nothing of it is lost",
        )
    if inside and _INPUT_OUTPUT in reason.lower():
        return f"CDSEL_DATA_DIR: {folder} cannot be used ({reason})", (
            f"see that its disk works; on a network share, {_OWN_DISK}"
        )
    if isinstance(fault, OSError) or (inside and _is_read_only(reason)):
        return (
            f"CDSEL_DATA_DIR: {folder} cannot be used ({reason})",
            "give this account that folder to read and write, or set CDSEL_DATA_DIR to a folder of its own",
        )
    if isinstance(fault, OperationalError) and reason in _LOCKED:
        return closed, (
            "end the other program that keeps it open, if there is one; else its file system has no locks, as some "
            f"network shares have none: {_OWN_DISK}"
        )
    if _lacks_connections(fault, reason):
        return closed, MORE_CONNECTIONS
    if _PASSWORD_REFUSED in reason:
        return closed, f"its password is refused: {_NEW_PASSWORD}"
    if isinstance(fault, DBAPIError) and getattr(fault.orig, "sqlstate", None) == _NO_RIGHT:
        return closed, (
            "let its account own the database and all that is in it, as by ALTER DATABASE ... OWNER TO ..."
        )
    return closed, ""


def reason_of(fault: BaseException) -> str:
    """What a fault says, in one line without SQL; only what is not ours is cut."""
    if not isinstance(fault, DBAPIError) or not fault.orig:
        return " ".join(str(fault).split())
    # What PostgreSQL answers to a statement ends in the statement; of one that was not connected to there is no answer.
    answer = getattr(getattr(fault.orig, "diag", None), "message_primary", None)
    return " ".join((answer or str(fault.orig)).split())[:300]


def _is_full(fault: BaseException, reason: str) -> bool:
    is_full = isinstance(fault, OSError) and fault.errno in FULL
    return is_full or (is_outside(fault) and any(phrase in reason.lower() for phrase in _FULL_WORDS))


def _has_no_room(folder: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(folder).free < LEAST_ROOM
    return False


def _lacks_connections(fault: BaseException, reason: str) -> bool:
    return isinstance(fault, OperationalError) and any(phrase in reason for phrase in _NO_CONNECTION_LEFT)


def _is_read_only(reason: str) -> bool:
    return any(phrase in reason.lower() for phrase in _NOT_WRITABLE)


def sentence(fault: BaseException) -> str:
    """What is wrong and what to do, in one line without SQL."""
    reason = reason_of(fault)
    if _is_full(fault, reason):
        return (
            "the disk is full: make room where CDSEL_DATA_DIR and the database lie; nothing is lost, and the work goes "
            "on by itself"
        )
    if isinstance(fault, OperationalError) and "locked" in reason:
        return (
            "the database is locked by another program: end what keeps it open for long, such as an editor; the work "
            "goes on by itself"
        )
    if isinstance(fault, DBAPIError) and is_outside(fault) and _is_read_only(reason):
        return (
            f"the database takes no changes ({reason}): see that the account of this program may write where "
            "CDSEL_DATA_DIR or CDSEL_DATABASE_URL says, and that it is no standby; nothing is lost, and the work goes "
            "on by itself"
        )
    if _lacks_connections(fault, reason):
        return (
            f"the database takes no more connections ({reason}): {MORE_CONNECTIONS}; nothing is lost, and the work "
            "goes on by itself"
        )
    if is_outside(fault) and _PASSWORD_REFUSED in reason:
        return f"the database refuses the password of CDSEL_DATABASE_URL ({reason}): {_NEW_PASSWORD}; nothing is lost"
    if isinstance(fault, SQLAlchemyError) and is_outside(fault):
        return (
            f"the database does not answer ({reason}): see CDSEL_DATABASE_URL; the work goes on once it does"
        )
    if is_outside(fault):
        return f"the disk cannot be read or written ({reason}): see the folder CDSEL_DATA_DIR"
    return f"{type(fault).__name__}: {reason}; the log has the details"


def trace(fault: BaseException) -> BaseException | None:
    """What the log is to show the trace of: faults of this program only."""
    return None if is_outside(fault) else fault
