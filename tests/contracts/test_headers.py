"""Record headers."""

import pytest

from saec.contracts.headers import ContentKind, cloud_event, content_kind, traceparent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_output_is_a_cloud_event_in_binary_mode() -> None:
    headers = cloud_event("saec.v1.DispatchMessage", "/saec/dispatch", "1", TRACE)
    assert dict(headers) == {
        "content-type": b"application/avro",
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/saec/dispatch",
        "ce_type": b"saec.v1.DispatchMessage",
        "traceparent": TRACE.encode(),
    }
    assert "traceparent" not in dict(cloud_event("t", "/s", "1"))


@pytest.mark.parametrize(
    ("headers", "value", "kind"),
    [
        (None, b"{}", ContentKind.JSON),
        ([], b"\xc3\x01rest", ContentKind.AVRO),
        ([("content-type", None)], b"\xc3\x01rest", ContentKind.AVRO),
        ([("content-type", b"text/plain")], b"\xc3\x01rest", ContentKind.AVRO),
        ([("content-type", b"text/plain")], b"{}", ContentKind.JSON),
        ([("Content-Type", b"Application/JSON;charset=utf-8")], b"\xc3\x01", ContentKind.JSON),
        ([("content-type", b"application/vnd.acme+json")], b"\xc3\x01", ContentKind.JSON),
        ([("content-type", b"application/avro")], b"{}", ContentKind.AVRO),
        ([("content-type", b"\xff")], b"{}", ContentKind.JSON),
    ],
)
def test_the_kind_of_content(
    headers: list[tuple[str, bytes | None]] | None, value: bytes, kind: ContentKind
) -> None:
    assert content_kind(headers, value) is kind


def test_a_valid_trace_is_carried() -> None:
    assert traceparent([("a", None), ("traceparent", TRACE.encode())]) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        TRACE.upper().encode(),
        TRACE.encode() + b"\n",
        b"ff" + TRACE.encode()[2:],
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
    ],
)
def test_an_invalid_trace_is_dropped(value: bytes | None) -> None:
    assert traceparent([("traceparent", value)]) is None


def test_no_trace_or_two_are_none() -> None:
    assert traceparent(None) is None
    assert traceparent([("traceparent", TRACE.encode())] * 2) is None
