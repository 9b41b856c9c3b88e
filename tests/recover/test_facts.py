"""What was answered and what was dispatched stays true, whatever stood where when it was lost."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saec import installation
from saec.contracts.status import Status
from saec.dispatch.round import Worker
from saec.errors import ConfigurationError
from saec.kafka.intake import Intake
from saec.recover.errors import RecoverError
from saec.recover.run import Recovery, recover
from tests.dispatch.test_worker import KilledError, drive, kill_after
from tests.recover.scene import Scene

MakeScene = Callable[..., Scene]


def claim_and_die(scene: Scene, **settings: Any) -> Worker:
    """A worker claims what is due and is killed before it publishes anything."""
    worker = scene.worker(**settings)
    with pytest.MonkeyPatch.context() as patched:
        kill_after("claim_due")(patched)
        with pytest.raises(KilledError):
            drive(worker, until=lambda: False)
    return worker


def test_nothing_to_recover(scene: Scene) -> None:
    scene.ask()
    scene.take_requests()
    scene.dispatch()
    assert recover(scene.settings, print, dry_run=True).nothing
    assert scene.recover().nothing
    assert scene.recover().nothing


def test_what_was_on_its_way_when_a_cancel_came_still_leaves(scene: Scene) -> None:
    """TOO_LATE was true, although the batch it was in never happened."""
    scene.back_up()
    asked = scene.ask()
    scene.take_requests()
    worker = claim_and_die(scene)
    scene.cancel(asked)
    scene.take_requests()
    assert scene.answers(asked) == [Status.ACCEPTED, Status.TOO_LATE]
    scene.close(worker, killed=True)
    scene.restore()
    report = scene.recover()
    assert (report.requests, report.cancels, report.undecided) == (1, 1, 0)
    scene.take_requests()
    scene.dispatch()
    assert scene.sent() == {(asked, "ana"): 1}
    assert scene.answers(asked) == [Status.ACCEPTED, Status.TOO_LATE]


def test_what_a_cancel_stopped_that_was_read_before_it_stays_stopped(scene: Scene) -> None:
    """Also when the cancel itself was not answered yet, and a worker is faster than ingest."""
    scene.back_up()
    answered = scene.ask_apart(-1_000)
    unanswered = scene.ask_before_its_cancel_is_answered()
    told = [Status.UNKNOWN_REQUEST, Status.ACCEPTED, Status.CANCELLED]
    assert scene.answers(answered) == told
    assert scene.answers(unanswered) == told[1:]
    scene.restore()
    report = scene.recover()
    assert (report.requests, report.cancels, report.undecided) == (2, 2, 0)
    assert scene.installed.pending() == 0
    scene.take_requests()
    scene.dispatch()
    assert scene.sent() == {}
    assert scene.answers(answered) == told
    assert scene.answers(unanswered) == [*told[1:], Status.CANCELLED]
    late = "SELECT late, requester, recipients_stopped FROM cancels"
    assert scene.installed.sql(late) == [(True, "tests", 1)] * 2


def test_a_cancel_stops_the_very_slices_that_it_stopped_before(make_scene: MakeScene) -> None:
    scene = make_scene(shards=1, slice_recipients=1)
    scene.back_up()
    asked = scene.ask(customers=("ana", "bia", "caio"))
    scene.take_requests()
    worker = claim_and_die(scene, dispatch_batch_messages=1)
    scene.cancel(asked)
    scene.take_requests()
    said = scene.statuses(asked)[-1]
    assert (said.status, said.counts["messages_stopped"]) == (Status.CANCELLED, 2)
    scene.close(worker, killed=True)
    scene.restore()
    scene.recover()
    again = scene.ask(due_in_ms=-500)
    scene.take_requests()
    scene.dispatch()
    assert scene.sent() == {(asked, "ana"): 1, (again, "ana"): 1}


def test_of_one_id_in_two_partitions_the_one_that_was_accepted_stays(scene: Scene) -> None:
    scene.back_up()
    asked = uuid.uuid4()
    scene.ask(id_=asked, partition=1, customers=("bia",))
    scene.take_requests()
    scene.ask(id_=asked, partition=0, customers=("ana",))
    scene.take_requests()
    assert scene.answers(asked) == [Status.ACCEPTED, Status.REJECTED]
    scene.restore()
    scene.recover()
    scene.dispatch()
    assert scene.sent() == {(asked, "bia"): 1}


def test_what_was_dispatched_before_it_was_answered_is_not_sent_again(scene: Scene) -> None:
    scene.back_up()
    with pytest.MonkeyPatch.context() as patched:

        def die(*_: Any) -> None:
            raise KilledError

        patched.setattr(Intake, "answer", die)
        asked = scene.ask()
        with pytest.raises(KilledError):
            scene.take_requests()
    scene.dispatch()
    assert scene.answers(asked) == []
    scene.restore()
    report = scene.recover()
    assert (report.requests, report.ahead, report.slices) == (0, 1, 1)
    scene.take_requests()
    assert scene.installed.pending() == 0
    assert scene.answers(asked) == [Status.ACCEPTED]
    assert scene.sent() == {(asked, "ana"): 1}


def test_a_cancel_whose_answer_is_not_kept_stops_what_was_not_dispatched(scene: Scene) -> None:
    scene.back_up()
    sent, stopped = scene.ask(), scene.ask(due_in_ms=3_600_000)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    for asked in (sent, stopped):
        scene.cancel(asked)
    scene.take_requests()
    admin = AdminClient({"bootstrap.servers": scene.settings.bootstrap_servers, "log_level": 0})
    status = scene.settings.topics.status
    for deleted in admin.delete_records([TopicPartition(status, p, -1) for p in (0, 1)]).values():
        deleted.result(60)
    scene.restore()
    report = scene.recover()
    assert (report.requests, report.cancels, report.undecided) == (2, 0, 2)
    assert scene.installed.pending() == 0
    assert scene.installed.sql("SELECT status FROM cancels ORDER BY status") == [
        ("CANCELLED",),
        ("TOO_LATE",),
    ]


STEPS = (
    "_take_shards", "_store_requests", "_store_ahead", "_store_customers", "_roll_forward",
    "_restore_cancels", "_finish",
)  # fmt: skip


# Before a step is after the one before it.
@pytest.mark.parametrize(
    ("step", "when"), [(STEPS[0], "before"), *((step, "after") for step in STEPS)]
)
def test_interrupted_at_any_step_it_is_run_again(scene: Scene, step: str, when: str) -> None:
    scene.back_up()
    sent, stopped, later = scene.ask(), scene.ask(3_600_000), scene.ask(3_600_000)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 2)
    scene.cancel(stopped)
    scene.take_requests()
    scene.restore()
    original = getattr(Recovery, step)

    def die(*args: Any) -> None:
        if when == "after":
            original(*args)
        raise KilledError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Recovery, step, die)
        with pytest.raises(KilledError):
            scene.recover()
    if (step, when) != ("_finish", "after"):
        with pytest.raises(ConfigurationError, match="has not finished: run `saec recover` again"):
            installation.check(scene.settings)
    assert scene.recover().halted == {}
    installation.check(scene.settings)
    assert scene.installed.sql("SELECT request_id::text FROM pending") == [(str(later),)]
    assert scene.answers(stopped) == [Status.ACCEPTED, Status.CANCELLED]
    assert scene.sent() == {(sent, "ana"): 1}


def test_a_shard_that_cannot_be_recovered_does_not_keep_the_others_back(scene: Scene) -> None:
    scene.back_up()
    asked = {shard: scene.ask(id_=scene.installed._new_id(shard)) for shard in (0, 1)}
    scene.take_requests()
    scene.dispatch()
    scene.publish(scene.settings.topics.ledger, {"of": "a stranger"}, "x", 1)
    scene.restore()
    report = scene.recover()
    assert list(report.halted) == [1]
    assert "no record of SAEC's" in report.halted[1]
    more = scene.ask(id_=scene.installed._new_id(0))
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    assert scene.sent() == {(request, "ana"): 1 for request in (*asked.values(), more)}
    assert scene.installed.sql("SELECT shard FROM shards WHERE halted IS NOT NULL") == [(1,)]


def test_slices_that_would_be_cut_in_another_way_halt_their_shard(make_scene: MakeScene) -> None:
    scene = make_scene(shards=1, slice_recipients=2)
    scene.back_up()
    scene.ask(customers=("ana", "bia", "caio"))
    scene.take_requests()
    scene.dispatch()
    scene.restore()
    assert "SAEC_SLICE_RECIPIENTS was changed" in scene.recover(slice_recipients=3).halted[0]


def test_a_request_that_would_be_refused_now_is_not_lost(scene: Scene) -> None:
    scene.back_up()
    scene.ask(due_in_ms=172_800_000)
    scene.take_requests()
    scene.restore()
    with pytest.raises(RecoverError, match="would be refused now"):
        scene.recover(horizon_days=1)
    assert scene.recover().requests == 1


def test_requests_that_were_deleted_are_told(scene: Scene) -> None:
    scene.back_up()
    for partition in (0, 1):
        scene.ask(partition=partition)
    scene.take_requests()
    gap = TopicPartition(scene.settings.topics.requests, 0, 1)
    admin = AdminClient({"bootstrap.servers": scene.settings.bootstrap_servers, "log_level": 0})
    admin.delete_records([gap])[gap].result(60)
    scene.restore()
    scene.installed.execute(
        f"INSERT INTO positions VALUES ('{gap.topic}', 0, 0) ON CONFLICT DO NOTHING"
    )
    with pytest.raises(RecoverError, match="partition 0: offsets 0 to 0 were deleted"):
        recover(scene.settings, print, dry_run=True)


def test_what_only_a_deleted_ledger_knew_is_not_sent_again(scene: Scene) -> None:
    scene.back_up()
    asked = [scene.ask(id_=scene.installed._new_id(shard)) for shard in (0, 1)]
    scene.take_requests()
    scene.dispatch()
    gone = TopicPartition(scene.settings.topics.ledger, 1, -1)
    admin = AdminClient({"bootstrap.servers": scene.settings.bootstrap_servers, "log_level": 0})
    admin.delete_records([gone])[gone].result(60)
    scene.restore()
    report = scene.recover()
    assert list(report.halted) == [1]
    assert "what was dispatched in between is not known" in report.halted[1]
    scene.ask(id_=scene.installed._new_id(0))
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    assert scene.sent()[asked[1], "ana"] == 1


def test_nothing_of_a_person_is_told(scene: Scene) -> None:
    scene.back_up()
    scene.ask()
    scene.register("zoe")
    scene.take_requests()
    scene.dispatch()
    scene.restore()
    said: list[str] = []
    report = recover(scene.settings, said.append, dry_run=False)
    told = f"{report} {said}"
    assert not [word for word in ("zoe", "ana", "example.com", "Olá") if word in told]
