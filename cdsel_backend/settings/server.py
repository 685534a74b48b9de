"""What the server is started with, from the environment."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import Self

from cdsel_backend.logs import LogFormat
from cdsel_backend.pool.roots import ImageRoots
from cdsel_backend.settings.project import PREFIX, ProjectSettings, environment_variable, names_in

_HOST = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*\.?")
LIKENESS = 0.75  # of a misspelt name: DATABASE is DATABASE_URL, IMAGE (as of a container) is not IMAGE_ROOTS
DATABASE_FILE = "cdsel.sqlite3"  # in the data folder, unless a database is named


def _web_address(text: str) -> str:
    """An address without a slash at its end; "" stands for none."""
    address = text.strip().rstrip("/")
    if not address:
        return ""
    parts = urlsplit(address)
    parts.port  # noqa: B018 - raises ValueError for a port that is none
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, address)):
        raise ValueError("write a whole address, such as http://localhost:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write the address alone, without a user, a ? or a #")
    return address


def _image_folders(text: str) -> str:
    ImageRoots.parse(text)
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
ImageFolders = Annotated[str, AfterValidator(_image_folders)]


def _default_data_dir() -> Path:
    """Where the system keeps data of programs; the only default before that stays in use where it holds a database."""
    folder, before = user_data_path("cdsel", appauthor=False), Path.home() / ".local/share/cdsel"
    return before if _holds_database(before) and not _holds_database(folder) else folder


def _holds_database(folder: Path) -> bool:
    return (folder / DATABASE_FILE).exists()


class ServerSettings(BaseSettings):
    """What one `cdsel serve` is started with, from the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,  # compose files set what is empty, too
    )

    label_studio_url: WebAddress = Field("", validation_alias="LABEL_STUDIO_URL")
    """Where Label Studio is; `cdsel serve` does not start without it, and sends the token nowhere else."""
    label_studio_api_key: str = Field("", validation_alias="LABEL_STUDIO_API_KEY", repr=False)
    """A personal access token (or a legacy token) of the account the backend works as; or \
`LABEL_STUDIO_API_KEY_FILE`, a file that holds it and is read again when the token is refused."""
    data_dir: Path = Field(default_factory=_default_data_dir, validation_alias="CDSEL_DATA_DIR")
    """Where the database and the model versions are kept; by default where the system keeps programs' data: on Linux \
`~/.local/share/cdsel`."""
    database: str = Field("", validation_alias="CDSEL_DATABASE_URL", repr=False)
    """A SQLAlchemy URL, as for PostgreSQL (extra `postgres`), or `CDSEL_DATABASE_URL_FILE`, a file that holds it, \
whose user and password are read again for each new connection; none: SQLite in the data folder."""
    public_url: WebAddress = Field("", validation_alias="CDSEL_PUBLIC_URL")
    """The backend as Label Studio reaches it, behind a proxy; none: the address under *Settings > Model*."""
    dashboard_url: WebAddress = Field("", validation_alias="CDSEL_DASHBOARD_URL")
    """The backend as people's browsers reach it, for links to the dashboard, with the path where a proxy has it below \
one (`https://host/cdsel`); none: as Label Studio reaches it."""
    basic_auth_user: str = Field("", validation_alias="BASIC_AUTH_USER")
    """With `BASIC_AUTH_PASS`, the login of the dashboard and of every route but `/health`; type both in *Connect \
Model*, too."""
    basic_auth_pass: str = Field("", validation_alias="BASIC_AUTH_PASS", repr=False)
    """The password of `BASIC_AUTH_USER`, or `BASIC_AUTH_PASS_FILE`, a file that holds it; without one, `cdsel serve` \
listens on this machine only."""
    trusted_proxy: str = Field("", validation_alias="CDSEL_TRUSTED_PROXY")
    """The IP address of the proxy in front, whose `X-Forwarded-For`, `-Proto` and `-Prefix` are believed; none: \
nobody's are."""
    ca_bundle: str = Field("", validation_alias="CDSEL_CA_BUNDLE")
    """A file with the certificate (PEM) of an authority of your own, trusted besides the public ones wherever Label \
Studio and images are asked over HTTPS; none: what `REQUESTS_CA_BUNDLE` names, if anything."""
    image_hosts: str = Field("", validation_alias="CDSEL_IMAGE_HOSTS")
    """Hosts on private addresses that images may be read from, such as `pacs.local, *.lan, 10.0.0.0/8`; Label Studio \
itself always may."""
    image_roots: ImageFolders = Field("", validation_alias="CDSEL_IMAGE_ROOTS")
    """Where this machine has images of tasks, such as `/data/local-files/=/mnt/images, s3://bucket=/mnt/bucket`: they \
are read there, whoever's tasks name them, and others from Label Studio."""
    allowed_weights: str = Field("", validation_alias="CDSEL_ALLOWED_WEIGHTS")
    """What the settings of a project may name in `backbone` and `backbone_weights` besides timm models: prefixes such \
as `hf-hub:timm/, /models/`."""
    device: str = Field("auto", validation_alias="CDSEL_DEVICE")
    """`auto`, `cpu`, `cuda` (all GPUs) or one of them, `cuda:1`: where images are embedded and the backbone is \
fine-tuned."""
    precision: Literal["auto", "float32"] = Field("auto", validation_alias="CDSEL_PRECISION")
    """`auto`: embed in bfloat16 where the processor or GPU has it and vectors agree (cosine .999); or `float32`."""
    ray_address: str = Field("", validation_alias="CDSEL_RAY_ADDRESS")
    """A Ray cluster whose machines embed images, such as `ray://head:10001` (extra `ray`; `cdsel_backend` of the same \
version must be installed on them); none: this machine does."""
    poll_seconds: float = Field(30.0, gt=0, allow_inf_nan=False, validation_alias="CDSEL_POLL_SECONDS")
    """How often to look at Label Studio when no webhook says so, in seconds."""
    log_format: LogFormat = Field("text", validation_alias="CDSEL_LOG_FORMAT")
    """`text` or `json`: one line an event, with the project and the request it is about; a fault that repeats is one \
line, and then a count."""
    max_image_pixels: int = Field(100_000_000, gt=0, validation_alias="CDSEL_MAX_IMAGE_PIXELS")
    """A larger image is left out, with the reason."""

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Let `NAME_FILE` name a file that holds the secret NAME, as container engines hand them over."""
        for name, field in cls.model_fields.items():
            variable = str(field.validation_alias)
            file = "" if field.repr or values.get(name) else os.environ.get(f"{variable}_FILE", "")
            if not file:
                continue
            if values.get(variable):
                raise ValueError(f"{variable} and {variable}_FILE are both set: set one of them")
            try:
                values = {**values, variable: Path(file).read_text(encoding="utf-8").strip()}
            except OSError as fault:
                raise ValueError(
                    f"{variable}_FILE = {file!r} cannot be read ({fault.strerror}): name a file that this "
                    "account may read"
                ) from None
            except UnicodeDecodeError:
                raise ValueError(
                    f"{variable}_FILE = {file!r} is no text in UTF-8: write the value alone into it"
                ) from None
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _as_people_type(cls, value: object, info: ValidationInfo) -> object:
        """Take blanks around a value away, but of a password, and any case of a word to choose."""
        name = str(info.field_name)
        if not isinstance(value, str) or name == "basic_auth_pass":
            return value
        return value.strip().lower() if name in ("device", "precision", "log_format") else value.strip()

    @field_validator("trusted_proxy")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        if text:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise ValueError("write the one IP address of the proxy, such as 10.0.0.2") from None
        return text

    @field_validator("image_hosts")
    @classmethod
    def _are_hosts(cls, text: str) -> str:
        for part in names_in(text):
            if not _HOST.fullmatch(part):
                try:
                    ipaddress.ip_network(part.strip("[]"), strict=False)
                except ValueError:
                    raise ValueError(
                        f"{part!r} is neither a host nor a network: write pacs.local, *.lan or 10.0.0.0/8, without "
                        "http://, a port or a path"
                    ) from None
        return text

    @field_validator("data_dir")
    @classmethod
    def _from_home(cls, folder: Path) -> Path:
        return folder.expanduser()

    def token_now(self) -> str:
        """Label Studio's token as its file holds it now, where a file is named."""
        now = secret_now("LABEL_STUDIO_API_KEY")
        return self.label_studio_api_key if now is None else now

    @model_validator(mode="after")
    def _certificates_are_there(self) -> Self:
        """Check the files of certificates that requests go by, also those that a library reads: all would fail."""
        named = {"CDSEL_CA_BUNDLE": self.ca_bundle}
        if not self.ca_bundle:
            named = {"REQUESTS_CA_BUNDLE": ca_bundle()}
        named["SSL_CERT_FILE"] = os.environ.get("SSL_CERT_FILE", "")
        for name, path in named.items():
            if path and not Path(path).is_file():
                raise ValueError(
                    f"{name} = {path!r}: there is no such file: name one with certificates in PEM form"
                )
            try:
                if path:
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
            except OSError as error:  # ssl.SSLError is one
                raise ValueError(
                    f"{name} = {path!r}: it holds no certificates in PEM form ({error})"
                ) from None
        return self

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            given, lacking = ("USER", "PASS") if self.basic_auth_user else ("PASS", "USER")
            raise ValueError(
                f"BASIC_AUTH_{given} is set and BASIC_AUTH_{lacking} is not: set both, or neither"
            )
        if ":" in self.basic_auth_user:
            raise ValueError(
                "BASIC_AUTH_USER has a colon, which cannot be sent in a user name: choose another"
            )
        return self

    @property
    def asks_password(self) -> bool:
        """Whether a login is set."""
        return bool(self.basic_auth_user and self.basic_auth_pass)

    @property
    def vectors_folder(self) -> Path:
        """Where the vectors are kept, beside the database or on storage that all workers share."""
        return self.data_dir / "vectors"

    @property
    def compiled_folder(self) -> Path:
        """Where networks are kept as compiled for this machine; it may be deleted at any time."""
        return self.data_dir / "compiled"

    @property
    def layouts_folder(self) -> Path:
        """Where what the pages show of whole pools is kept ready, by project; it may be deleted at any time."""
        return self.data_dir / "layouts"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database or f"sqlite:///{self.data_dir / DATABASE_FILE}"


def read_server_settings() -> ServerSettings:
    """Read the server's settings from the environment.

    Raises:
        ValueError: a variable has no usable value; the message names it.
    """
    try:
        return ServerSettings()
    except ValidationError as fault:
        raise ValueError("; ".join(map(_server_fault, fault.errors()))) from None


def _server_fault(error: ErrorDetails) -> str:
    """What is wrong with a variable, as a sentence that holds no secret."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # several variables together; the message names them
        return message
    name = str(error["loc"][0])
    secret = {field.validation_alias for field in ServerSettings.model_fields.values() if not field.repr}
    return f"{name}: {message}" if name in secret else f"{name} = {error['input']!r}: {message}"


def unread_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that nothing here reads, misspelt by their looks -> the variable that each is near.

    Others that begin alike are somebody else's, such as those that Kubernetes sets for a service named cdsel.
    """
    server = {str(field.validation_alias): field for field in ServerSettings.model_fields.values()}
    files = {f"{variable}_FILE" for variable, field in server.items() if not field.repr}
    read = {*server, *files, *map(environment_variable, ProjectSettings.model_fields)}
    suffixes = [name.removeprefix(PREFIX) for name in read if name.startswith(PREFIX)]
    near = {
        name: get_close_matches(name.removeprefix(PREFIX), suffixes, n=1, cutoff=LIKENESS)
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in read and value.strip()
    }
    return {name: PREFIX + found[0] for name, found in sorted(near.items()) if found}


def secret_now(variable: str) -> str | None:
    """A secret as the file that NAME_FILE names for it holds it now; None where none is named, or it cannot be read."""
    file = os.environ.get(f"{variable}_FILE")
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else None
    except (OSError, UnicodeDecodeError):  # as while it is being replaced
        return None


def ca_bundle() -> str:
    """The file of certificates in force; "" where the public authorities are all."""
    return os.environ.get("CDSEL_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE", "")


def where_to_put_token() -> str:
    """What is to be done with a new token of Label Studio, as a clause."""
    file = os.environ.get("LABEL_STUDIO_API_KEY_FILE")
    if file:
        return f"write it into {file} (LABEL_STUDIO_API_KEY_FILE), which is read again at once"
    return "set LABEL_STUDIO_API_KEY to it, and start `cdsel serve` again"


def allowed_weights() -> str:
    """CDSEL_ALLOWED_WEIGHTS, also where no server was started."""
    return os.environ.get("CDSEL_ALLOWED_WEIGHTS", "")
