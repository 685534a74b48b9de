"""`python -m cdsel_backend.store.migrations "what changes"`: write the next revision from what schema.py now says."""

from __future__ import annotations

import sys

from alembic import command
from sqlalchemy import create_engine

from cdsel_backend.store.migrations import HEAD, alembic_config, migrate


def main(message: str) -> None:
    """Compare an empty database at the newest revision with schema.py, and write what differs as a new revision."""
    engine = create_engine("sqlite://")
    migrate(engine)
    with engine.connect() as connection:
        config = alembic_config(connection)
        command.revision(config, message, autogenerate=True, rev_id=f"{int(HEAD) + 1:04}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
