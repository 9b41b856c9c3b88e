"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("pending_seq")))
    op.create_table(
        "cancels",
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("decides", sa.Boolean(), nullable=False),
        sa.Column("recipients_stopped", sa.Integer(), nullable=False),
        sa.Column("messages_stopped", sa.Integer(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("appended_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "not late or status = 'CANCELLED'", name=op.f("cancels_late_stops_check")
        ),
        sa.CheckConstraint(
            "(status = 'CANCELLED') = (messages_stopped > 0)",
            name=op.f("cancels_stopped_or_not_check"),
        ),
        sa.CheckConstraint(
            "case when decides then status in ('CANCELLED', 'TOO_LATE') else status <> 'CANCELLED' end",
            name=op.f("cancels_decision_is_final_check"),
        ),
        sa.CheckConstraint(
            "status in ('CANCELLED', 'TOO_LATE', 'ALREADY_CANCELLED', 'UNKNOWN_REQUEST', 'REJECTED')",
            name=op.f("cancels_status_known_check"),
        ),
        sa.PrimaryKeyConstraint("source_partition", "source_offset", name=op.f("cancels_pkey")),
    )
    op.create_index(
        "cancels_one_decision_idx",
        "cancels",
        ["request_id"],
        unique=True,
        postgresql_where=sa.text("decides"),
    )
    op.create_index(
        "cancels_unknown_idx",
        "cancels",
        ["request_id"],
        unique=False,
        postgresql_where=sa.text("status = 'UNKNOWN_REQUEST'"),
    )
    op.create_index(op.f("cancels_request_id_idx"), "cancels", ["request_id"], unique=False)
    op.create_table(
        "claims",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("batch_no", sa.BigInteger(), nullable=False),
        sa.Column("seqs", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("shard", "batch_no", name=op.f("claims_pkey")),
    )
    op.create_table(
        "customers",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("opted_out", sa.SmallInteger(), nullable=False),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.Column("appended_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("registered_offset", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "not erased or (email is null and phone is null)",
            name=op.f("customers_erased_is_empty_check"),
        ),
        sa.CheckConstraint(
            "opted_out between 0 and 15", name=op.f("customers_opted_out_known_check")
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("customers_pkey")),
    )
    op.create_table(
        "installation",
        sa.Column("singleton", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("topic_prefix", sa.Text(), nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.CheckConstraint("singleton", name=op.f("installation_one_row_check")),
        sa.CheckConstraint("shards > 0", name=op.f("installation_shards_positive_check")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("installation_pkey")),
    )
    op.create_table(
        "pending",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("due_at_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "seq", sa.BigInteger(), server_default=sa.text("nextval('pending_seq')"), nullable=False
        ),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("slice_no", sa.Integer(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("channels", sa.SmallInteger(), nullable=False),
        sa.Column("recipients", sa.Integer(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("customers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("schema_version", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "case when channels & 8 = 0 then cardinality(customers) > 0 else channels = 8 and cardinality(customers) = 0 end",
            name=op.f("pending_push_alone_without_customers_check"),
        ),
        sa.CheckConstraint("channels between 1 and 15", name=op.f("pending_channels_known_check")),
        sa.CheckConstraint("lane in (0, 1)", name=op.f("pending_lane_known_check")),
        sa.CheckConstraint("recipients > 0 and messages > 0", name=op.f("pending_not_empty_check")),
        sa.PrimaryKeyConstraint("shard", "lane", "due_at_ms", "seq", name=op.f("pending_pkey")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index("pending_slice_idx", "pending", ["request_id", "slice_no"], unique=True)
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("positions_pkey")),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("channels", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("due_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("recipients", sa.Integer(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("slices", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("channels between 1 and 15", name=op.f("requests_channels_known_check")),
        sa.CheckConstraint(
            "expires_at_ms > due_at_ms", name=op.f("requests_expires_after_due_check")
        ),
        sa.CheckConstraint("lane in (0, 1)", name=op.f("requests_lane_known_check")),
        sa.CheckConstraint(
            "octet_length(content_hash) = 16", name=op.f("requests_content_hash_16_bytes_check")
        ),
        sa.CheckConstraint(
            "recipients > 0 and messages > 0 and slices > 0", name=op.f("requests_not_empty_check")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("requests_pkey")),
    )
    op.create_index(
        "requests_accepted_idx",
        "requests",
        ["accepted_at_ms", "source_offset"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
    op.create_table(
        "shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("batch_no", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ledger_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("halted", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("shard", name=op.f("shards_pkey")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "skips",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("slice_no", sa.Integer(), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.CheckConstraint("channel in (1, 2, 4, 8)", name=op.f("skips_channel_known_check")),
        sa.CheckConstraint("messages > 0", name=op.f("skips_not_empty_check")),
        sa.PrimaryKeyConstraint(
            "request_id", "slice_no", "channel", "reason", name=op.f("skips_pkey")
        ),
    )
