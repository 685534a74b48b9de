"""Where a Label Studio is installed: in this environment, or in one of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cdsel_backend.labelstudio.releases import has_personal_tokens

FIND = (
    "import importlib.metadata as m, importlib.util as u; "
    "print(m.version('label-studio'), u.find_spec('label_studio').origin)"
)
FIND_SECONDS = 60


class LabelStudioMissing(RuntimeError):
    """The package label-studio is not installed."""


@dataclass(frozen=True)
class Installation:
    """An installed Label Studio."""

    python: Path
    """The interpreter of its environment."""
    release: str
    package: Path
    """The folder of its package."""

    @property
    def has_personal_tokens(self) -> bool:
        """Whether its accounts have personal access tokens; before there were any, legacy tokens are always on."""
        return has_personal_tokens(self.release)


def find_installation(python: Path | None = None) -> Installation:
    """The Label Studio that an interpreter has; none: this one's.

    Raises:
        LabelStudioMissing: it has none.
    """
    if python is None:
        found = importlib.util.find_spec("label_studio")
        if found is None or found.origin is None:
            raise LabelStudioMissing(
                "Label Studio is not installed in this environment. Install it with: "
                "pip install 'cdsel-backend[demo]'   (from a checkout: pip install -e '.[demo]')"
            )
        return Installation(Path(sys.executable), version("label-studio"), Path(found.origin).parent)
    # Isolated: what is on this process's path belongs to this environment.
    asked = subprocess.run(
        [str(python), "-I", "-c", FIND], capture_output=True, text=True, timeout=FIND_SECONDS, check=False
    )
    if asked.returncode != 0:
        raise LabelStudioMissing(
            f"{python} has no Label Studio: {python} -m pip install label-studio=={version('label-studio')}"
        )
    release, _, origin = asked.stdout.strip().partition(" ")
    return Installation(python, release, Path(origin).parent)
