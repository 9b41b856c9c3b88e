"""Which topics are never written, and which only when they are named twice."""

import pytest

from saec.replay import target
from saec.replay.errors import ReplayRefusedError
from saec.settings import Settings, Topics

OURS, THEIRS = Topics("saec."), Topics("other.")
EXISTING = {*OURS.all, *THEIRS.all, OURS.replays, "copy", "half.ledger", "__consumer_offsets"}
LIVE = sorted(set(OURS.all) - {OURS.ledger, OURS.status})
NEVER = [OURS.ledger, OURS.status, OURS.replays]


def check(to: str, really: str | None = None, source: str = "copy") -> None:
    target.check(Settings(topic_prefix="saec."), source, to, EXISTING, really)


@pytest.mark.parametrize("to", LIVE)
def test_what_is_live_has_to_be_named_twice(to: str) -> None:
    with pytest.raises(ReplayRefusedError, match=f"--to {to} --really-into {to}"):
        check(to)
    check(to, really=to)


@pytest.mark.parametrize("to", [*NEVER, "__consumer_offsets"])
def test_what_saec_itself_says_is_never_written(to: str) -> None:
    for really in (None, to):
        with pytest.raises(ReplayRefusedError, match="never written"):
            check(to, really)


def test_another_installation_on_the_cluster_is_as_safe() -> None:
    with pytest.raises(ReplayRefusedError, match="--really-into"):
        check(THEIRS.requests)
    check(THEIRS.requests, really=THEIRS.requests)
    for to in (THEIRS.ledger, THEIRS.status, THEIRS.replays):
        with pytest.raises(ReplayRefusedError, match="never written"):
            check(to, really=to)


def test_a_topic_that_only_sounds_like_it_is_free() -> None:
    check("half.ledger")
    check("new.ledger")


def test_the_second_name_has_to_be_the_same() -> None:
    for really in (OURS.customers, "", "saec.Requests"):
        with pytest.raises(ReplayRefusedError, match="another one"):
            check(OURS.requests, really)


def test_a_topic_is_not_copied_into_itself() -> None:
    with pytest.raises(ReplayRefusedError, match="same topic"):
        check("copy")
    with pytest.raises(ReplayRefusedError, match="there is no topic missing"):
        check("copy", source="missing")


def test_a_target_before_the_first_replay() -> None:
    """The journal does not exist yet, and must not be made by a replay's --create."""
    with pytest.raises(ReplayRefusedError, match="never written"):
        target.check(Settings(topic_prefix="saec."), "copy", OURS.replays, {"copy"}, None)


def test_a_topic_of_the_installation_is_made_by_init_alone() -> None:
    settings = Settings(topic_prefix="saec.")
    with pytest.raises(ReplayRefusedError, match="saec init"):
        target.check(settings, "copy", OURS.requests, {"copy"}, OURS.requests)
