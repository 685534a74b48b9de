"""Every setting, validated once: what the server is started with, and what each project asks for.

Project settings come in layers, each over the one before: defaults < environment < labeling-config attributes
< extra parameters in Settings > Model < the dashboard. A bad value never replaces a good one: `accept` keeps what
the layer said before and returns the fault as a sentence.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import Self

from cdsel_backend.logs import LogFormat
from cdsel_backend.pool.roots import ImageRoots
from cdsel_backend.selection import SelectionOptions, describe


def _web_address(text: str) -> str:
    """An address without a slash at its end; "" stands for none."""
    address = text.strip().rstrip("/")
    if not address:
        return ""
    parts = urlsplit(address)
    parts.port  # noqa: B018 - raises ValueError for a port that is none
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write a whole address, such as http://localhost:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write the address alone, without a user, a ? or a #")
    return address


def _image_folders(text: str) -> str:
    ImageRoots.parse(text)
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
ImageFolders = Annotated[str, AfterValidator(_image_folders)]

RANDOM_WEIGHTS = "random"  # `backbone_weights` of a network that nobody trained
DATABASE_FILE = "cdsel.sqlite3"  # in the data folder, unless a database is named
LAYERS = ("environment", "labeling config", "extra parameters", "dashboard")


def _default_data_dir() -> Path:
    """Where the system keeps data of programs; the only default before that stays in use where it holds a database."""
    folder, before = user_data_path("cdsel", appauthor=False), Path.home() / ".local/share/cdsel"
    return before if _holds_database(before) and not _holds_database(folder) else folder


def _holds_database(folder: Path) -> bool:
    return (folder / DATABASE_FILE).exists()


class ServerSettings(BaseSettings):
    """What one `cdsel serve` is started with, from the environment."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, use_attribute_docstrings=True
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
    """A SQLAlchemy URL, as for PostgreSQL (extra `postgres`), or `CDSEL_DATABASE_URL_FILE`, a file that holds it; \
none: SQLite in the data folder."""
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
    """`auto`, `cpu` or `cuda`: where images are embedded and the backbone is fine-tuned."""
    precision: Literal["auto", "float32"] = Field("auto", validation_alias="CDSEL_PRECISION")
    """`auto`: embed in bfloat16 where the processor or GPU has it and vectors agree (cosine .999); or `float32`."""
    ray_address: str = Field("", validation_alias="CDSEL_RAY_ADDRESS")
    """A Ray cluster whose machines embed images, such as `ray://head:10001` (extra `ray`; `cdsel_backend` of the same \
version must be installed on them); none: this machine does."""
    poll_seconds: float = Field(30.0, gt=0, validation_alias="CDSEL_POLL_SECONDS")
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
            except (OSError, UnicodeDecodeError) as fault:
                raise ValueError(f"{variable}_FILE = {file!r} cannot be read: {fault}") from None
        return values

    def token_now(self) -> str:
        """Label Studio's token as its file holds it now, where a file is named."""
        file = os.environ.get("LABEL_STUDIO_API_KEY_FILE")
        try:
            return Path(file).read_text(encoding="utf-8").strip() if file else self.label_studio_api_key
        except (OSError, UnicodeDecodeError):  # as while it is being replaced
            return self.label_studio_api_key

    @field_validator("ca_bundle")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if path and not Path(path).is_file():
            raise ValueError("there is no such file: name one with certificates in PEM form")
        try:
            if path:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"it holds no certificates in PEM form ({error})") from None
        return path

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


def names_in(text: str) -> list[str]:
    """The parts of a text with commas, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _split_commas(value: object) -> object:
    """Let `"a, b"` stand for `["a", "b"]`, as XML attributes and the environment write lists."""
    return names_in(value) if isinstance(value, str) else value


def _auto_or_names(value: object) -> object:
    return "auto" if isinstance(value, str) and value.strip().lower() == "auto" else _split_commas(value)


def _quotas(value: object) -> object:
    """Let `"a@x.org: 100, b@x.org: 50"` stand for a mapping; e-mail addresses are compared in lower case."""
    if isinstance(value, str):
        if value.strip().startswith("{"):
            value = json.loads(value)
        else:
            parts = [part.rpartition(":") for part in value.split(",") if part.strip()]
            value = {name: quota.strip() for name, _, quota in parts}
    if not isinstance(value, Mapping):
        return value
    quotas = {str(name).strip().lower(): quota for name, quota in value.items()}
    strange = [name for name in quotas if "@" not in name]
    if strange or len(quotas) < len(value):
        raise ValueError('name each account once, by its e-mail address: {"ann@example.org": 100}')
    return quotas


def _known_strategy(name: str) -> str:
    describe(name)  # raises for one that there is not
    return name


Names = Annotated[list[str], BeforeValidator(_split_commas)]
Quotas = Annotated[dict[str, Annotated[int, Field(ge=0, le=10_000_000)]], BeforeValidator(_quotas)]


class ProjectSettings(BaseModel):
    """What an admin may set for one project."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    budget: int = Field(200, ge=0, le=10_000_000)
    """How many images may be labelled in all; pushed images never exceed it."""
    budget_hours: float | None = Field(None, gt=0, le=1_000_000)
    """How many hours of annotators' time labelling may take in all; none: any. The measured time of an image makes \
images of them, and the smaller of both budgets holds; until five times are measured, that is one round."""
    round_size: int = Field(20, ge=1, le=100_000)
    """How many images one round pushes to the annotators."""
    refill_at: float = Field(0.5, ge=0, le=1)
    """The share of a round that is still open when the next training starts and the next round is chosen, so that \
annotators never meet an empty queue; 0: once the round is labelled."""
    retrain_every: int = Field(20, ge=1, le=1_000_000)
    """New or changed labels that start a training before the round is complete."""
    confounders: Annotated[Literal["auto"] | list[str], BeforeValidator(_auto_or_names)] = "auto"
    """`auto`, or the names of the metadata variables to treat as confounders."""
    ignore: Names = []
    """Metadata variables to leave alone, such as consequences of the label."""
    group: str | None = None
    """The metadata variable that names the patient or lesion; its images stay on one side of a split."""
    learn: str | None = None
    """The name of the control of the labeling config whose answers are learned; none: the labeling config decides."""
    ignore_classes: Names = []
    """Classes such as `cannot tell` that annotators may choose and that are not learned. An image with such an answer \
alone has no label and, as a skipped one, uses budget; beside other classes the answer is passed over."""
    strategy: Annotated[str, AfterValidator(_known_strategy)] = "confounder_aware"
    """How images are chosen; `cdsel strategies` lists the names."""
    random_share: float = Field(SelectionOptions.random_share, ge=0, le=1)
    """The share of each round that `confounder_aware` draws at random from all images, whatever the caps below, to \
tell what the pool holds."""
    group_cap: int | None = Field(SelectionOptions.group_cap, ge=1, le=10_000_000)
    """At most this many images of one patient or lesion (`group`) are chosen or labelled, the random share apart; \
none: no limit."""
    near_duplicate: float | None = Field(SelectionOptions.near_duplicate, gt=0, le=1)
    """An image at least this similar to one chosen or labelled is left out, the random share apart: the cosine, up to \
1, of the vectors that images are chosen by; none: all may come."""
    strength: float | None = Field(None, ge=0, le=1)
    """How far the model makes up for the confounder, from 0 (not at all) to 1 (wholly): robust to it, or accurate on \
more of the same; none: wholly."""
    training: Literal["auto", "head", "backbone"] = "auto"
    """`head`: learn from the backbone's vectors, in seconds. `backbone`: fine-tune its last stage, too, in minutes. \
`auto`: as `head`; with a GPU and 200 labels the fine-tune is tried, and kept unless it is worse on labels not seen."""
    backbone: str = "tf_efficientnet_lite0"
    """A timm model name; the default needs no model hub."""
    backbone_weights: str | None = None
    """A local checkpoint for the backbone, on the machine of the backend; none: pretrained ones."""
    features: Literal["depths", "last"] = "depths"
    """What is read of the backbone: `depths`, averages of several depths over the whole image and over its middle; \
`last`, its last layer. Another choice has all images embedded again; labels stay."""
    view: Literal["close", "fast"] = "close"
    """How large the backbone sees an image, always the whole of it: `close`, with twice the pixels it was trained on, \
in twice the time, where it can; `fast`, at its own size. Another choice has all images embedded again; labels stay."""
    delivery: Literal["queue_project", "in_place"] = "queue_project"
    """`queue_project`: a project of its own, in strict order. `in_place`: scores in the connected project."""
    annotators: Quotas = {}
    """Accounts of Label Studio (e-mail) with a queue each, and how many images each gets; none: one queue for all."""
    overlap: float = Field(0.0, ge=0, le=1)
    """The share of images that two annotators label, to measure their agreement."""
    preannotate: bool = True
    """Show the annotator the model's prediction on the images of the queue."""
    preannotate_from: float = Field(0.8, ge=0, le=1)
    """The least probability from which the model's answer is filled in for the annotator; below it she sees none."""
    show_reason: Literal["full", "neutral", "none"] = "neutral"
    """What an annotator reads of why an image was chosen: `full`; `neutral`, neither a confounder nor what the model \
thinks; or `none`. The dashboard always shows all of it. It holds for images pushed from then on."""
    mirror: bool = False
    """Copy the labels of the queue into the pool project as annotations there, marked as ours, and follow their \
changes; a task that a person annotated there is left alone. False: nothing more is copied, and what is there stays."""
    paused: bool = False
    """Push nothing more until this is false again; labels still come in."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Same pool, labels, settings and seed: same selection."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_people_type(cls, value: object, info: ValidationInfo) -> object:
        """Take blanks around a name away, and any case of a word to choose; true and false are no numbers."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("true and false are no value of it")
        if isinstance(value, str) and kind == (str | None):
            return value.strip() or None
        if isinstance(value, str) and get_origin(kind) is Literal and value.strip().lower() in get_args(kind):
            return value.strip().lower()
        return value


@dataclass(frozen=True)
class Resolved:
    """The settings in force, which layer each value came from, and what a layer says that is refused now."""

    settings: ProjectSettings
    sources: Mapping[str, str]
    refused: tuple[Refusal, ...]
    below: Mapping[str, Overruled]
    """Setting -> what the next source says of it, where that is something else than what is in force."""


@dataclass(frozen=True)
class Overruled:
    """A value that a source names and another one overrules."""

    layer: str
    value: object


def parse_layer(raw: object) -> dict[str, Any]:
    """Read what an admin typed as extra parameters: JSON text, a mapping, or nothing.

    Raises:
        ValueError: the text is no JSON object; the message says where.
    """
    if raw is None or raw == "":
        return {}
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except json.JSONDecodeError as fault:
            raise ValueError(
                f"the extra parameters are no valid JSON ({fault.msg} at line {fault.lineno}, "
                f"column {fault.colno}); "
                'write for example {"budget": 200, "round_size": 20}'
            ) from None
        if raw is None:
            return {}
    if not isinstance(raw, Mapping):
        raise ValueError(
            f'the extra parameters must be a JSON object such as {{"budget": 200}}, not {type(raw).__name__}'
        )
    return dict(raw)


def weights_refusal(name: str, value: object, allowed: str) -> str | None:
    """Why a project may not name this `backbone` or `backbone_weights`, as a sentence; None where it may.

    timm's own model names are free. What comes from a hub or from this machine (`hf-hub:`, `local-dir:`, a path) needs
    a prefix in `allowed`, the text of CDSEL_ALLOWED_WEIGHTS. Paths are compared as they resolve, since `..` and
    symbolic links lead elsewhere than they say.
    """
    if not isinstance(value, str) or name not in ("backbone", "backbone_weights"):
        return None
    if value == RANDOM_WEIGHTS or (name == "backbone" and not any(mark in value for mark in ":/\\")):
        return None
    if not value.isprintable():
        return "it holds characters that no name or path has"
    scheme, colon, rest = value.replace("hf_hub:", "hf-hub:", 1).partition(":")
    from_hub = name == "backbone" and colon and scheme != "local-dir"
    source = f"{scheme}:{rest}" if from_hub else os.path.realpath(rest if scheme == "local-dir" else value)
    for prefix in names_in(allowed):
        folder = prefix if ":" in prefix else os.path.realpath(prefix)
        inside = folder if folder.endswith(("/", ":")) else f"{folder}/"
        if (source == folder or source.startswith(inside)) and ".." not in source.split("/"):
            return None
    return "the server allows no such source; its administrator can add a prefix to CDSEL_ALLOWED_WEIGHTS"


def ca_bundle() -> str:
    """The file of certificates in force; "" where the public authorities are all."""
    return os.environ.get("CDSEL_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE", "")


def _allowed_weights() -> str:
    return os.environ.get("CDSEL_ALLOWED_WEIGHTS", "")


@dataclass(frozen=True)
class Refusal:
    """A setting that is refused, or none at all: which layer says it, its name and value, and why.

    `near`: the name that it may have been meant to be. `stays`: the layer's former value, which stays in force.
    """

    layer: str
    name: str
    value: object
    known: bool = True
    reason: str = ""
    near: str | None = None
    stays: object = None


def accept(
    raw: Mapping[str, Any], previous: Mapping[str, Any], *, layer: str
) -> tuple[dict[str, Any], list[Refusal]]:
    """Validate one layer key by key; a bad value leaves the layer's previous good one in place.

    Returns:
        What the layer now says, and what of it is refused.
    """
    accepted: dict[str, Any] = {}
    refused: list[Refusal] = []
    for name, value in raw.items():
        if name not in ProjectSettings.model_fields:
            near = get_close_matches(name.lower().replace("-", "_"), ProjectSettings.model_fields, n=1)
            refused.append(Refusal(layer, name, value, known=False, near=next(iter(near), None)))
            continue
        try:
            checked = ProjectSettings.model_validate({name: value})
        except ValidationError as fault:
            reason = "; ".join(
                dict.fromkeys(error["msg"].removeprefix("Value error, ") for error in fault.errors())
            )
        else:  # what the environment says is the server's own
            found = None if layer == "environment" else weights_refusal(name, value, _allowed_weights())
            reason = found or ""
        if not reason:
            accepted[name] = checked.model_dump(mode="json")[name]
            continue
        refused.append(Refusal(layer, name, value, reason=reason, stays=previous.get(name)))
        if name in previous:
            accepted[name] = previous[name]
    return accepted, refused


def resolve(layers: Mapping[str, Mapping[str, Any]]) -> Resolved:
    """Lay the accepted layers over each other, in the order of `LAYERS`.

    A value may have been right when it was accepted and be wrong now: a strategy whose extra was uninstalled. It is
    left out and named, so that the project goes on.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(ProjectSettings.model_fields, "default")
    refused: list[Refusal] = []
    below: dict[str, Overruled] = {}
    for layer in LAYERS:
        accepted, faults = accept(layers.get(layer, {}), {}, layer=layer)
        refused += faults
        for name, value in accepted.items():
            below.pop(name, None)
            if name in values and values[name] != value:
                below[name] = Overruled(sources[name], values[name])
            values[name] = value
            sources[name] = layer
    return Resolved(ProjectSettings.model_validate(values), sources, tuple(refused), below)


def environment_layer(environ: Mapping[str, str] = os.environ) -> tuple[dict[str, Any], list[Refusal]]:
    """The project settings that the environment names, as `CDSEL_BUDGET=200`, and which of them are refused."""
    named = {
        name: environ[key]
        for name in ProjectSettings.model_fields
        if (key := f"CDSEL_{name.upper()}") in environ
    }
    return accept(named, {}, layer="environment")
