"""Channels and lanes."""

from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro
from saec.contracts.events import Channel, Lane, bits_to_channels, channels_to_bits


def test_the_bits_are_what_the_database_holds() -> None:
    assert {channel: channel.bit for channel in Channel} == {
        Channel.EMAIL: 1,
        Channel.SMS: 2,
        Channel.WHATSAPP: 4,
        Channel.PUSH: 8,
    }


@given(st.sets(st.sampled_from(Channel)))
def test_a_set_comes_back_in_order(channels: set[Channel]) -> None:
    expected = tuple(channel for channel in Channel if channel in channels)
    assert bits_to_channels(channels_to_bits(channels)) == expected


def test_transactional_goes_first() -> None:
    assert sorted(Lane, key=lambda lane: lane.rank) == [Lane.TRANSACTIONAL, Lane.CAMPAIGN]


def test_the_schemas_know_every_channel_and_lane() -> None:
    fields = {field["name"]: field["type"] for field in avro.load("schedule_requested")["fields"]}
    assert fields["channels"]["items"]["symbols"] == ["UNKNOWN", *Channel]
    assert fields["lane"][1]["symbols"] == ["UNKNOWN", *Lane]
