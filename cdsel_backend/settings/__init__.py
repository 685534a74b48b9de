"""Every setting, validated once: what the server is started with, and what each project asks for.

Project settings come in layers, each over the one before: defaults < environment < labeling-config attributes
< extra parameters in Settings > Model < the dashboard. A bad value never replaces a good one: `accept` keeps what
the layer said before and returns why the other is refused, as a `Refusal`.
"""

from cdsel_backend.settings.layers import (
    LAYERS,
    Overruled,
    Refusal,
    Resolved,
    accept,
    environment_layer,
    parse_layer,
    resolve,
    resolve_project,
)
from cdsel_backend.settings.project import ProjectSettings, environment_variable, names_in
from cdsel_backend.settings.server import (
    DATABASE_FILE,
    ServerSettings,
    ca_bundle,
    read_server_settings,
    secret_now,
    unread_variables,
    where_to_put_token,
)
from cdsel_backend.settings.weights import RANDOM_WEIGHTS, weights_refusal

__all__ = [
    "DATABASE_FILE",
    "LAYERS",
    "RANDOM_WEIGHTS",
    "Overruled",
    "ProjectSettings",
    "Refusal",
    "Resolved",
    "ServerSettings",
    "accept",
    "ca_bundle",
    "environment_layer",
    "environment_variable",
    "names_in",
    "parse_layer",
    "read_server_settings",
    "resolve",
    "resolve_project",
    "secret_now",
    "unread_variables",
    "weights_refusal",
    "where_to_put_token",
]
