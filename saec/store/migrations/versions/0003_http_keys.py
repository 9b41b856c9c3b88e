"""Keys of the HTTP endpoint, and a requester's requests in order, newest first."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("key_id ~ '^[0-9a-f]{12}$'", name=op.f("keys_key_id_form_check")),
        sa.CheckConstraint(
            "octet_length(secret_hash) = 32", name=op.f("keys_secret_hash_32_bytes_check")
        ),
        sa.CheckConstraint(
            "cardinality(scopes) > 0 and scopes <@ array['schedule', 'read', 'operate']",
            name=op.f("keys_scopes_known_check"),
        ),
        sa.CheckConstraint("rate > 0", name=op.f("keys_rate_positive_check")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("keys_pkey")),
        sa.UniqueConstraint("secret_hash", name=op.f("keys_secret_hash_key")),
    )
    # As large as the history: it takes longer than any statement of a process may.
    op.execute("SET LOCAL statement_timeout = 0")
    op.create_index(
        "requests_newest_idx", "requests", ["requester", "accepted_at_ms", "request_id"]
    )
