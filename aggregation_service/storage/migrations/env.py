"""Alembic's entry: migrates over the connection that `storage.database.upgrade` passes in."""

from alembic import context

from aggregation_service.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
