"""The registry after a restore and on another Kafka, and a person who is erased."""

import re
from collections.abc import Callable
from pathlib import Path

from saec import installation
from saec.contracts.status import Status
from saec.ingest import registry
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.recover.run import reanchor
from saec.settings import Settings
from tests.recover.scene import Scene
from tests.recover.test_anchor import recreate

MakeScene = Callable[..., Scene]
SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
HOUR_MS = 3_600_000


def newest(settings: Settings) -> dict[str, Incoming]:
    """What compaction would leave of saec.registry: the last record of each customer."""
    topic, found = settings.topics.registry, {}
    whole = stretches.settled(settings, topic)
    for batch in stretches.read(settings, topic, whole):
        for record in batch:
            found[(record.key or b"").decode()] = record
    return found


def rows(scene: Scene) -> list[tuple[object, ...]]:
    return scene.installed.sql(
        "SELECT customer_id, email, phone, opted_out, erased FROM customers ORDER BY customer_id"
    )


def test_what_was_mentioned_bit_by_bit_is_there_again_after_a_restore(scene: Scene) -> None:
    """Also what the backup knew, and no record since has mentioned."""
    scene.register("zoe", phone="+5511987654321", opted_out=["EMAIL"])
    scene.back_up()
    scene.register("zoe", email="zoe@example.org")
    scene.register("bia", email="", opted_out=["SMS"])
    scene.publish(scene.settings.topics.customers, None, "ana")
    scene.take_customers()
    before = rows(scene)
    assert ("zoe", "zoe@example.org", "+5511987654321", 1, False) in before
    assert ("ana", None, None, 0, True) in before
    scene.restore()
    assert rows(scene) != before
    scene.recover()
    assert rows(scene) == before


def test_a_new_topic_of_customers_goes_on_where_the_registry_is(scene: Scene) -> None:
    """Offsets begin at 0 again, and count against those of the old topic all the same."""
    topics = scene.settings.topics
    scene.register("zoe", phone="+5511987654321")
    recreate(scene.settings, [topics.customers, topics.registry])
    assert reanchor(scene.settings, yes=True, claimed_sent=None).customers
    installation.check(scene.settings)
    told = newest(scene.settings)
    assert set(told) >= {"ana", "bia", "zoe"}
    assert registry.mention(told["zoe"]).phone == "+5511987654321"
    scene.register("zoe", email="zoe@example.org")
    assert ("zoe", "zoe@example.org", "+5511987654321", 0, False) in rows(scene)
    assert registry.mention(newest(scene.settings)["zoe"]).phone == "+5511987654321"


def test_a_person_is_erased_as_the_documentation_says(scene: Scene) -> None:
    """docs/security.md, Erasing a person."""
    page = SECURITY.read_text("utf-8").partition("### Erasing a person")[2]
    query = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert query is not None
    scene.register("42", phone="+5511987654321", name="Ana Souza")
    alone = scene.ask(HOUR_MS, customers=("42",))
    among = scene.ask(1_000, customers=("42", "bia"), lane="CAMPAIGN")
    others = scene.ask(HOUR_MS, customers=("bia",))
    scene.take_requests()

    statement = re.sub(r"\s+", " ", query[1]).strip().rstrip(";")
    found = scene.installed.sql(statement.replace("%", "%%"))
    assert {(str(row[0]), row[2]) for row in found} == {(str(alone), 1), (str(among), 2)}
    scene.cancel(alone)
    scene.take_requests()
    scene.publish(scene.settings.topics.customers, None, "42")
    scene.take_customers()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)

    assert scene.answers(alone)[-1] is Status.CANCELLED
    assert scene.sent() == {(among, "bia"): 1}
    assert scene.answers(others) == [Status.ACCEPTED]
    assert ("42", None, None, 0, True) in rows(scene)
    assert newest(scene.settings)["42"].value is None
    assert scene.installed.sql("SELECT 1 FROM pending WHERE '42' = ANY(customers)") == []
