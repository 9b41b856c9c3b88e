"""Another cluster or a recreated topic behind the same address: refused, explained, begun anew."""

from collections.abc import Callable, Sequence

import pytest
from confluent_kafka.admin import AdminClient

from saec import installation
from saec.contracts.status import Status
from saec.errors import ConfigurationError
from saec.recover.errors import RecoverError
from saec.recover.run import reanchor, recover
from saec.settings import Settings
from tests.outages.grounds import wait_until
from tests.recover.scene import KNOWN, Scene
from tests.recover.test_facts import claim_and_die

MakeScene = Callable[..., Scene]


def recreate(settings: Settings, topics: Sequence[str]) -> None:
    """Delete topics and let `saec init` create them again."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    for deleted in admin.delete_topics(list(topics)).values():
        deleted.result(60)
    wait_until(lambda: not set(topics) & set(admin.list_topics(timeout=60).topics))
    installation.init(settings)


def refused(settings: Settings) -> str:
    """How every process is refused at its start."""
    with pytest.raises(ConfigurationError) as error:
        installation.check(settings)
    return str(error.value)


def test_a_recreated_topic_of_requests_is_read_from_its_beginning(scene: Scene) -> None:
    settings, topic = scene.settings, scene.settings.topics.requests
    due, stopped = scene.ask(partition=0), scene.ask(3_600_000, partition=1)
    before = scene.ask(3_600_000, partition=0)
    scene.take_requests()
    scene.cancel(before)
    scene.take_requests()
    recreate(settings, [topic])
    assert f"{topic} has the id" in refused(settings)
    assert "the cluster" not in refused(settings)
    with pytest.raises(ConfigurationError, match="not the Kafka"):
        recover(settings, print, dry_run=True)
    change = reanchor(settings, yes=False, claimed_sent=None)
    assert (change.requests, change.customers, change.ledger) == (True, False, False)
    assert change.pending_slices == 2
    refused(settings)

    reanchor(settings, yes=True, claimed_sent=None)
    installation.check(settings)
    # Where requests and a cancel stood in the old topic, and now others do.
    more = [scene.ask(partition=partition) for partition in (0, 1)]
    scene.cancel(stopped)
    scene.cancel(before)
    scene.take_requests()
    scene.dispatch()
    assert scene.sent() == {(request, "ana"): 1 for request in (due, *more)}
    assert scene.answers(stopped) == [Status.ACCEPTED, Status.CANCELLED]
    assert sorted(scene.answers(before)) == [
        Status.ACCEPTED, Status.ALREADY_CANCELLED, Status.CANCELLED,
    ]  # fmt: skip
    assert recover(settings, print, dry_run=True).nothing


def test_answers_to_a_topic_that_was_recreated_are_no_answers_to_the_new_one(scene: Scene) -> None:
    """Within the hour, where offsets are used again."""
    settings = scene.settings
    scene.ask_apart(3_600_000)
    scene.cancel(scene.ask(3_600_000, partition=0))
    scene.take_requests()
    recreate(settings, [settings.topics.requests])
    reanchor(settings, yes=True, claimed_sent=None)
    scene.back_up()
    # Where two cancels and two requests stood.
    later = [scene.ask(3_600_000, partition=partition) for partition in (0, 0, 0, 1, 1)]
    scene.take_requests()
    scene.restore()
    assert scene.recover().requests == len(later)
    stored = scene.installed.sql("SELECT request_id FROM pending")
    assert {request for (request,) in stored} == set(later)


@pytest.mark.parametrize("sent", [True, False])
def test_of_a_recreated_ledger_the_operator_says_what_was_sent(
    make_scene: MakeScene, *, sent: bool
) -> None:
    scene = make_scene(shards=1, slice_recipients=1)
    asked = scene.ask(customers=KNOWN)
    scene.take_requests()
    scene.close(claim_and_die(scene, dispatch_batch_messages=1), killed=True)
    recreate(scene.settings, [scene.settings.topics.ledger])
    assert "ledger has the id" in refused(scene.settings)
    assert reanchor(scene.settings, yes=False, claimed_sent=None).in_doubt == 1
    with pytest.raises(RecoverError, match="1 slices were on their way"):
        reanchor(scene.settings, yes=True, claimed_sent=None)
    reanchor(scene.settings, yes=True, claimed_sent=sent)
    scene.dispatch()
    expected = KNOWN[1:] if sent else KNOWN
    assert scene.sent() == {(asked, customer): 1 for customer in expected}


def test_another_cluster_begins_with_what_is_pending(scene: Scene) -> None:
    """A cluster as new as can be had on the same address: other ids, empty topics, no groups."""
    due = scene.ask()
    scene.take_requests()
    scene.installed.execute("UPDATE installation SET cluster_id = 'another'")
    recreate(scene.settings, scene.settings.topics.all)
    said = refused(scene.settings)
    assert "the cluster has the id" in said
    assert said.count("has the id") == 4
    reanchor(scene.settings, yes=True, claimed_sent=None)
    installation.check(scene.settings)
    scene.register("zoe")
    more = scene.ask(customers=("zoe",))
    scene.take_requests()
    scene.dispatch()
    assert scene.sent() == {(due, "ana"): 1, (more, "zoe"): 1}


def test_nothing_is_begun_anew_while_a_process_runs(scene: Scene) -> None:
    worker = scene.worker()
    wait_until(lambda: worker.run_once() >= 0 and len(worker.owned) == 2)
    with pytest.raises(RecoverError, match="1 of dispatch"):
        reanchor(scene.settings, yes=True, claimed_sent=None)
    scene.close(worker)


def test_ids_that_are_not_known_are_taken_from_the_next_init(scene: Scene) -> None:
    """A database of the first release."""
    names = ("cluster_id", "requests_topic_id", "customers_topic_id", "ledger_topic_id")
    scene.installed.execute(f"UPDATE installation SET {', '.join(f'{n} = NULL' for n in names)}")
    installation.check(scene.settings)
    installation.init(scene.settings)
    found = scene.installed.sql(f"SELECT {', '.join(names)} FROM installation")[0]
    assert None not in found
    assert len(set(found)) == len(names)
