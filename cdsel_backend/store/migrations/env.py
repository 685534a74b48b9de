"""What alembic runs around every command: it works on the connection that `migrations.alembic_config` was given."""

from alembic import context

from cdsel_backend.store.migrations import VERSION_TABLE
from cdsel_backend.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    compare_server_default=True,
    render_as_batch=True,  # SQLite cannot change a column in place
)
with context.begin_transaction():  # the transaction is the caller's
    context.run_migrations()
