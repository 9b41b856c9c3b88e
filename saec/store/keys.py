"""Keys of the HTTP endpoint, as they are stored.

Invariant: no row holds a secret, only its hash; a row is never deleted, and once revoked it stays
revoked.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from saec.keys import Scope
from saec.store.engine import count, rows


class KeyState(StrEnum):
    """Whether a key is let in, and why not."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One row of `keys`, in column order.

    `rate` is requests a second that one endpoint process lets through, None: SAEC_HTTP_RATE.
    """

    key_id: str
    secret_hash: bytes = field(repr=False)
    name: str
    requester: str
    scopes: tuple[Scope, ...]
    rate: int | None
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None

    def state(self, now_ms: int) -> KeyState:
        """What the key is at `now_ms`, epoch milliseconds by PostgreSQL's clock."""
        if self.revoked_at_ms is not None:
            return KeyState.REVOKED
        expired = self.expires_at_ms is not None and self.expires_at_ms <= now_ms
        return KeyState.EXPIRED if expired else KeyState.ACTIVE


_NAMES = [column.name for column in fields(KeyRow)]
_COLUMNS = ", ".join(_NAMES)
_INSERT = f"INSERT INTO keys ({_COLUMNS}) VALUES ({', '.join(f'%({n})s' for n in _NAMES)})"
_READ = f"SELECT {_COLUMNS} FROM keys ORDER BY created_at_ms, key_id"
_USABLE = f"""
    SELECT {_COLUMNS} FROM keys
    WHERE revoked_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > %(now_ms)s)
"""
_REVOKE = f"""
    UPDATE keys SET revoked_at_ms = coalesce(revoked_at_ms, %(at_ms)s)
    WHERE key_id = %(key_id)s RETURNING {_COLUMNS}
"""


def insert_key(connection: Connection, row: KeyRow) -> None:
    """Store a new key. Its id and its hash must be new: StoreConflictError otherwise."""
    values = dict(zip(_NAMES, astuple(row), strict=True))
    values["scopes"] = [scope.value for scope in row.scopes]
    count(connection, _INSERT, **values)


def read_keys(connection: Connection) -> list[KeyRow]:
    """Every key that ever was, oldest first."""
    return _key_rows(rows(connection, _READ))


def read_usable(connection: Connection, now_ms: int) -> list[KeyRow]:
    """The keys that are neither revoked nor expired at `now_ms`, epoch milliseconds."""
    return _key_rows(rows(connection, _USABLE, now_ms=now_ms))


def revoke_key(connection: Connection, key_id: str, at_ms: int) -> KeyRow | None:
    """Revoke a key, and return it as it stands then; None: there is no such key.

    A key that was revoked already keeps the instant of its first revocation.
    """
    revoked = _key_rows(rows(connection, _REVOKE, key_id=key_id, at_ms=at_ms))
    return revoked[0] if revoked else None


def _key_rows(found: Iterable[Any]) -> list[KeyRow]:
    return [
        KeyRow(key_id, bytes(secret_hash), name, requester, tuple(map(Scope, scopes)), *rest)
        for key_id, secret_hash, name, requester, scopes, *rest in found
    ]
