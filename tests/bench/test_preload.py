"""What is stored for a run is what ingest makes of the same requests."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from bench import preload
from bench.events import AVRO, JSON, encoded
from bench.site import Site
from bench.workload import MESSAGE, REQUESTER, Campaign, Singles
from saec.contracts.events import Channel
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming
from saec.store.engine import open_engine

if TYPE_CHECKING:
    from tests.stack import Installations

NOW_MS = 1_800_000_000_000
CUSTOMERS = 3
SHARED = """
    request_id::text, requester, campaign_id, channels, lane, due_at_ms, expires_at_ms,
    recipients, messages
"""
REQUESTS = f"SELECT {SHARED}, slices FROM requests ORDER BY request_id"
PENDING = f"""
    SELECT {SHARED}, shard, slice_no, traceparent, customers, schema_version, message
    FROM pending ORDER BY {{order}}
"""


@pytest.fixture
def site(installations: "Installations") -> Iterator[Site]:
    with installations.make() as settings:
        yield Site("test", settings)


def stored(site: Site, order: str = "seq") -> list[list[tuple[Any, ...]]]:
    found = [site.rows(REQUESTS), site.rows(PENDING.format(order=order))]
    return [[tuple(map(_plain, row)) for row in rows] for rows in found]


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def ingested(site: Site, values: list[bytes]) -> None:
    batch = [
        Incoming(site.settings.topics.requests, 0, offset, NOW_MS, b"", value, [])
        for offset, value in enumerate(values)
    ]
    engine = open_engine(site.settings.database_url)
    RequestIntake(site.settings, engine, site.settings.shards).take(batch, {0: len(batch)})
    engine.dispose()


@pytest.mark.parametrize(("encoding", "index_later"), [(AVRO, 0), (JSON, 8)])
def test_single_requests(
    site: Site, encoding: str, index_later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Singles("x", tuple(range(NOW_MS, NOW_MS + 7)), CUSTOMERS)
    monkeypatch.setattr(preload, "_CHUNK", 3)
    monkeypatch.setattr(preload, "_INDEX_LATER", index_later)
    indexes = "SELECT indexname, indexdef FROM pg_indexes ORDER BY 1"
    before = site.rows(indexes)
    preload.singles(site, asked)
    assert site.rows(indexes) == before
    ours = stored(site)
    assert len(ours[1]) == len(asked)
    site.empty()
    numbered = enumerate(zip(asked.request_ids(), asked.dues_ms, strict=True), 1)
    ingested(
        site,
        [
            encoded(id_, asked.customer(number), due_ms, encoding)
            for number, (id_, due_ms) in numbered
        ],
    )
    assert stored(site) == ours


def test_a_campaign(site: Site) -> None:
    asked = Campaign("y", NOW_MS, 1_300, (Channel.EMAIL, Channel.SMS), per_request=700)
    preload.store(site, asked)
    ours = stored(site, "request_id, slice_no")
    assert sum(row[8] for row in ours[0]) == asked.messages == len(asked.expected())
    site.empty()
    events = [
        {
            "type": "saec.v1.ScheduleRequested",
            "id": str(id_),
            "requester": REQUESTER,
            "campaign_id": asked.label,
            "channels": list(asked.channels),
            "customers": [f"c{member}" for member in asked.members(number)],
            "due_at": NOW_MS,
            "message": {"body": MESSAGE.body.decode(), "content_type": MESSAGE.content_type},
        }
        for number, id_ in enumerate(asked.request_ids(), 1)
    ]
    ingested(site, [json.dumps(event).encode() for event in events])
    assert stored(site, "request_id, slice_no") == ours
