"""Which Kafka an installation belongs to, and whether a recovery of it is under way."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("installation", sa.Column("cluster_id", sa.Text()))
    op.add_column("installation", sa.Column("requests_topic_id", sa.Text()))
    op.add_column("installation", sa.Column("customers_topic_id", sa.Text()))
    op.add_column("installation", sa.Column("ledger_topic_id", sa.Text()))
    op.add_column(
        "installation",
        sa.Column("recovering", sa.Boolean(), server_default="false", nullable=False),
    )
