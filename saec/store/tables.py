"""The tables of SAEC, as SQLAlchemy Core knows them.

Owns the shape of the data; the migrations create it and a test holds the two against each other.
Instants are epoch milliseconds (bigint), so that no conversion stands in the way of a claim.
Invariant: a row that SAEC could not dispatch cannot be stored (the CHECKs).
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

# One row: what `saec init` fixed. A process with another prefix or shard count is refused, and one
# that finds another Kafka than the ids name. `recovering` keeps all out until a recovery is done.
installation = Table(
    "installation",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    Column("topic_prefix", Text, nullable=False),
    Column("shards", Integer, nullable=False),
    Column("cluster_id", Text),
    Column("requests_topic_id", Text),
    Column("customers_topic_id", Text),
    Column("ledger_topic_id", Text),
    Column("recovering", Boolean, nullable=False, server_default="false"),
    CheckConstraint("singleton", name="one_row"),
    CheckConstraint("shards > 0", name="shards_positive"),
)

# The next offset to read, saved in the transaction that stored what came before it.
positions = Table(
    "positions",
    metadata,
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition"),
)

# One narrow row a request, for ever: idempotency, status, history. Never updated.
requests = Table(
    "requests",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("requester", Text, nullable=False),
    Column("campaign_id", Text),
    Column("channels", SmallInteger, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("recipients", Integer, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("slices", Integer, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("accepted_at_ms", BigInteger, nullable=False),
    CheckConstraint("channels between 1 and 15", name="channels_known"),
    CheckConstraint("lane in (0, 1)", name="lane_known"),
    CheckConstraint("recipients > 0 and messages > 0 and slices > 0", name="not_empty"),
    CheckConstraint("expires_at_ms > due_at_ms", name="expires_after_due"),
    CheckConstraint("octet_length(content_hash) = 16", name="content_hash_16_bytes"),
    # A requester's requests, newest first, from any of them on.
    Index("requests_newest_idx", "requester", "accepted_at_ms", "request_id"),
    # Where a request came from, by the time when it was accepted: a few pages a look, and small.
    Index(
        "requests_accepted_idx",
        "accepted_at_ms",
        "source_offset",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    ),
)

# The answer each cancel record got, by its source position: a redelivery is answered from here.
# `late`: the request was read after its cancel, and stopped as it was stored.
cancels = Table(
    "cancels",
    metadata,
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("request_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("decides", Boolean, nullable=False),
    Column("recipients_stopped", Integer, nullable=False),
    Column("messages_stopped", Integer, nullable=False),
    Column("requester", Text, nullable=False),
    Column("appended_at_ms", BigInteger, nullable=False),
    Column("late", Boolean, nullable=False),
    PrimaryKeyConstraint("source_partition", "source_offset"),
    CheckConstraint(
        "status in ('CANCELLED', 'TOO_LATE', 'ALREADY_CANCELLED', 'UNKNOWN_REQUEST', 'REJECTED')",
        name="status_known",
    ),
    CheckConstraint("(status = 'CANCELLED') = (messages_stopped > 0)", name="stopped_or_not"),
    CheckConstraint(
        "case when decides then status in ('CANCELLED', 'TOO_LATE') else status <> 'CANCELLED' end",
        name="decision_is_final",
    ),
    CheckConstraint("not late or status = 'CANCELLED'", name="late_stops"),
    Index(None, "request_id"),
)
# Only one cancel decides a request; the database itself refuses a second.
Index(
    "cancels_one_decision_idx",
    cancels.c.request_id,
    unique=True,
    postgresql_where=cancels.c.decides,
)
# Every request that is stored is looked for here: its cancel may have been read before it.
Index(
    "cancels_unknown_idx",
    cancels.c.request_id,
    postgresql_where=cancels.c.status == "UNKNOWN_REQUEST",
)

# What is still to be dispatched, and nothing else: one row a slice, read in primary key order.
pending_seq = Sequence("pending_seq", metadata=metadata, cache=1)
pending = Table(
    "pending",
    metadata,
    Column("shard", SmallInteger, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("seq", BigInteger, server_default=pending_seq.next_value(), nullable=False),
    Column("request_id", Uuid, nullable=False),
    Column("slice_no", Integer, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("channels", SmallInteger, nullable=False),
    Column("recipients", Integer, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("requester", Text, nullable=False),
    Column("campaign_id", Text),
    Column("traceparent", Text),
    Column("customers", ARRAY(Text), nullable=False),
    Column("schema_version", SmallInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shard", "lane", "due_at_ms", "seq"),
    Index("pending_slice_idx", "request_id", "slice_no", unique=True),
    CheckConstraint("channels between 1 and 15", name="channels_known"),
    CheckConstraint("lane in (0, 1)", name="lane_known"),
    CheckConstraint("recipients > 0 and messages > 0", name="not_empty"),
    CheckConstraint(
        "case when channels & 8 = 0 then cardinality(customers) > 0 "
        "else channels = 8 and cardinality(customers) = 0 end",
        name="push_alone_without_customers",
    ),
    # A queue: rows live for seconds. Vacuum often, and leave room for the next rows.
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

# What could not go out, counted when its batch is applied.
skips = Table(
    "skips",
    metadata,
    Column("request_id", Uuid, nullable=False),
    Column("slice_no", Integer, nullable=False),
    Column("channel", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("messages", Integer, nullable=False),
    PrimaryKeyConstraint("request_id", "slice_no", "channel", "reason"),
    CheckConstraint("channel in (1, 2, 4, 8)", name="channel_known"),
    CheckConstraint("messages > 0", name="not_empty"),
)

# The registry. An erased customer keeps a row without addresses, so that an older registration
# that comes again cannot bring the person back.
customers = Table(
    "customers",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("email", Text),
    Column("phone", Text),
    Column("opted_out", SmallInteger, nullable=False),
    Column("erased", Boolean, nullable=False),
    Column("appended_at_ms", BigInteger, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    # Of the first registration, in that partition; -1: in another one; null: never registered.
    Column("registered_offset", BigInteger),
    CheckConstraint("opted_out between 0 and 15", name="opted_out_known"),
    CheckConstraint("not erased or (email is null and phone is null)", name="erased_is_empty"),
)

# Who dispatches a shard (owner: a transactional id), and how far the ledger has been applied.
shards = Table(
    "shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Text),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("batch_no", BigInteger, nullable=False, server_default="0"),
    Column("ledger_offset", BigInteger, nullable=False, server_default="0"),
    Column("halted", Text),
    postgresql_with={"fillfactor": "50"},
)

# The slices on their way: chosen for a batch that the ledger has not been seen to hold yet.
claims = Table(
    "claims",
    metadata,
    Column("shard", SmallInteger, nullable=False),
    Column("batch_no", BigInteger, nullable=False),
    Column("seqs", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("shard", "batch_no"),
)

# Who may use the HTTP endpoint, and for what. Of a key's secret only the hash is here.
keys = Table(
    "keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("rate", Integer),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    UniqueConstraint("secret_hash"),
    CheckConstraint("key_id ~ '^[0-9a-f]{12}$'", name="key_id_form"),
    CheckConstraint("octet_length(secret_hash) = 32", name="secret_hash_32_bytes"),
    CheckConstraint(
        "cardinality(scopes) > 0 and scopes <@ array['schedule', 'read', 'operate']",
        name="scopes_known",
    ),
    CheckConstraint("rate > 0", name="rate_positive"),
)
