"""Who may do what in the database: the least that each process needs, as SQL to run.

Invariant: what stands here is what the tests run every process with; docs/security.md shows it.
"""

import re
from hashlib import blake2b

from saec.settings import Settings
from saec.store import place

# Of these no two give the same name; an underscore stands for all that is not plain.
_PLAIN = re.compile(r"[a-z0-9]+\.")
_MOST_BYTES = 63  # PostgreSQL cuts what is longer, without a word

_EVERYBODY = {"alembic_version": "SELECT", "installation": "SELECT"}
# Table -> privileges. `saec init` owns the tables.
TABLES = {
    "requests": _EVERYBODY
    | {
        "requests": "SELECT, INSERT",
        "pending": "SELECT, INSERT, DELETE",
        # One that was read before its request gets another answer.
        "cancels": "SELECT, INSERT, UPDATE (status, decides, recipients_stopped, "
        "messages_stopped, late)",
        "positions": "SELECT, INSERT, UPDATE",
        "claims": "SELECT",
        # To lock a row one must be allowed to change something of it.
        "shards": "SELECT, UPDATE (halted)",
    },
    "requesters": _EVERYBODY,
    "customers": _EVERYBODY
    | {"customers": "SELECT, INSERT, UPDATE", "positions": "SELECT, INSERT, UPDATE"},
    "dispatch": _EVERYBODY
    | {
        "pending": "SELECT, DELETE",
        "customers": "SELECT",
        "positions": "SELECT",
        "shards": "SELECT, UPDATE",
        "claims": "SELECT, INSERT, DELETE",
        "skips": "INSERT",
    },
    "reader": _EVERYBODY
    | {
        "requests": "SELECT",
        # Without customers and message.
        "pending": "SELECT (shard, lane, due_at_ms, seq, request_id, slice_no, channels, "
        "recipients, messages)",
        "claims": "SELECT",
        "cancels": "SELECT",
        "skips": "SELECT",
        "shards": "SELECT",
        "positions": "SELECT",
    },
    # Nothing of a message or of who is to receive it, not even a hash.
    "http": _EVERYBODY
    | {
        "requests": "SELECT (request_id, requester, campaign_id, channels, lane, due_at_ms, "
        "expires_at_ms, recipients, messages, accepted_at_ms)",
        "pending": "SELECT (lane, due_at_ms, request_id, channels, recipients, messages, "
        "requester)",
        "cancels": "SELECT",
        "skips": "SELECT",
        "keys": "SELECT",
    },
    # A key is revoked, and nothing else of it is ever changed.
    "keys": _EVERYBODY | {"keys": "SELECT, INSERT, UPDATE (revoked_at_ms)"},
}
_STAGE = ("requests", "customers")  # they load a batch into a temporary table first


def role_name(settings: Settings, role: str) -> str:
    """The database role of a process: letters, digits and underscores.

    What is lost of a prefix in that comes back as a digest: `a-b.` and `a_b.` are two.
    """
    prefix = settings.topic_prefix
    name = re.sub(r"\W", "_", f"{prefix}{role}", flags=re.ASCII).lower()
    if _PLAIN.fullmatch(prefix) and len(name) <= _MOST_BYTES:
        return name
    digest = blake2b(prefix.encode(), digest_size=4).hexdigest()
    return f"{name[: _MOST_BYTES - len(role) - 10]}_{digest}_{role}"


def before_init(settings: Settings) -> list[str]:
    """What an administrator runs first: the roles, and what they may do with the database."""
    names = {role: role_name(settings, role) for role in ("init", *TABLES)}
    database = f'"{place.database(settings.database_url)}"'
    everybody = ", ".join(names.values())
    staging = ", ".join(names[role] for role in _STAGE)
    return [
        *(f"CREATE ROLE {name} LOGIN" for name in names.values()),
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {everybody}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {staging}",
        # Everybody may, before PostgreSQL 15.
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA public TO {everybody}",
        f"GRANT CREATE ON SCHEMA public TO {names['init']}",
    ]


def after_init(settings: Settings) -> list[str]:
    """What the role of `saec init` runs when the tables are there, and after an upgrade."""
    grants = [
        f"GRANT {privileges} ON {table} TO {role_name(settings, role)}"
        for role, tables in TABLES.items()
        for table, privileges in tables.items()
    ]
    return [*grants, f"GRANT USAGE ON SEQUENCE pending_seq TO {role_name(settings, 'requests')}"]
