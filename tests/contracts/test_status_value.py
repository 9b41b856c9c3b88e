"""Answers, as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro
from saec.contracts.decode import RejectedError
from saec.contracts.status import RequestStatus, Status, decode_status, encode_status
from saec.errors import Reason
from tests.contracts import values

statuses = st.builds(
    RequestStatus,
    request_id=st.none() | values.uuids.map(str),
    status=st.sampled_from(Status),
    at_ms=values.instants,
    reason=st.none() | st.sampled_from(Reason),
    counts=st.dictionaries(st.text(max_size=20), st.integers(0, 2**62), max_size=4),
    detail=st.none() | st.text(max_size=100),
    customer_id=st.none() | st.text(max_size=128),
)


@given(statuses)
def test_what_is_written_is_what_is_read(status: RequestStatus) -> None:
    assert decode_status(encode_status(status)) == status


@given(statuses)
def test_the_bytes_are_those_of_a_general_encoder(status: RequestStatus) -> None:
    fields = {
        "request_id": status.request_id,
        "customer_id": status.customer_id,
        "status": status.status.value,
        "reason": None if status.reason is None else status.reason.value,
        "counts": status.counts,
        "detail": status.detail,
        "at": status.at_ms,
    }
    assert encode_status(status) == avro.encode_single("request_status", fields)


def test_the_schema_knows_every_status() -> None:
    field = next(f for f in avro.load("request_status")["fields"] if f["name"] == "status")
    assert field["type"]["symbols"] == ["UNKNOWN", *Status]


@pytest.mark.parametrize("changes", [{"status": "UNKNOWN"}, {"reason": "of_a_later_release"}])
def test_what_a_later_release_says_is_refused(changes: dict[str, str]) -> None:
    fields = {"status": "SENT", "at": 1, **changes}
    with pytest.raises(RejectedError) as caught:
        decode_status(avro.encode_single("request_status", fields))
    assert caught.value.reason is Reason.INVALID_EVENT
