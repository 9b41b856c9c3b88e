"""Alembic's entry: runs the migrations on the connection that `saec.store.migrate` hands in."""

from alembic import context

from saec.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
