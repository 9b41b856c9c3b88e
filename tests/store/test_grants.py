"""Names of database roles: one for each installation, whatever its prefix has."""

import itertools

from saec.settings import Settings
from saec.store.grants import TABLES, before_init, role_name

PREFIXES = ("saec.", "saec.a-b.", "saec.a_b.", "SAEC.a.b.", "saec.a.b.", "saec_", "saec-", "Saec.",
    "saec.x" + "y" * 140, "saec.x" + "y" * 139 + "z", "b.", "ab.")  # fmt: skip


def test_no_two_installations_share_a_role() -> None:
    named = {
        (prefix, role): role_name(Settings(topic_prefix=prefix), role)
        for prefix in PREFIXES
        for role in ("init", *TABLES)
    }
    for one, other in itertools.combinations(named, 2):
        assert named[one] != named[other], (one, other)
    for name in named.values():
        assert len(name) <= 63
        assert name.isascii()
        assert name.replace("_", "a").isalnum()
        assert name == name.lower()
    assert named["saec.", "requests"] == "saec_requests"


def test_nobody_may_create_anything_but_init() -> None:
    statements = before_init(Settings())
    revoked = statements.index("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    granted = [n for n, one in enumerate(statements) if one.startswith("GRANT CREATE")]
    assert [statements[n].rpartition(" ")[2] for n in granted] == ["saec_init"]
    assert revoked < granted[0]
