"""`saec replay` as its own principal: it copies aside, and nowhere else."""

import json
from collections.abc import Callable

from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings
from tests.trust.test_acls import run

AsRole = Callable[..., Settings]


def test_it_may_copy_aside_and_not_into_what_is_live(as_role: AsRole) -> None:
    requester, replaying = as_role("requester"), as_role("replay", "reader")
    topics = replaying.topics
    assert publish(requester, [Outgoing(topics.requests, b"{}", b"k", [])]).failures == []
    aside = f"{replaying.topic_prefix}replay.aside"
    arguments = ("replay", topics.requests, "--to", aside, "--create", "--json")
    first, second = (run(*arguments, settings=replaying) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert json.loads(first.stdout)["copied"] == json.loads(second.stdout)["copied_before"] > 0
    live = ("replay", aside, "--to", topics.rejected, "--really-into", topics.rejected)
    denied = run(*live, settings=replaying)
    assert denied.exit_code == 3
    assert "TOPIC_AUTHORIZATION_FAILED" in denied.output
    assert "Traceback" not in denied.output
