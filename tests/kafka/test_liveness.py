"""Alive is who the broker counts as a member, and nobody else."""

from contextlib import closing

import pytest

from saec.kafka import clients
from saec.kafka.liveness import is_alive
from saec.settings import Settings

JOIN_TIMEOUT_S = 30


def test_a_member_of_the_group_is_alive_until_it_leaves(installation: Settings) -> None:
    group = installation.group_id("requests")
    with closing(
        clients.consumer(installation, group, **{"auto.offset.reset": "latest"})
    ) as member:
        member.subscribe([installation.topics.requests])
        for _ in range(JOIN_TIMEOUT_S):
            member.poll(1)
            if member.assignment():
                break
        assert is_alive(installation, "requests")
        assert not is_alive(installation, "customers")
    assert not is_alive(installation, "requests")


def test_a_member_on_another_machine_is_not_this_one(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.kafka.liveness._own_address", lambda _servers: "192.0.2.1")
    group = installation.group_id("requests")
    with closing(
        clients.consumer(installation, group, **{"auto.offset.reset": "latest"})
    ) as member:
        member.subscribe([installation.topics.requests])
        for _ in range(JOIN_TIMEOUT_S):
            member.poll(1)
            if member.assignment():
                break
        assert not is_alive(installation, "requests")
