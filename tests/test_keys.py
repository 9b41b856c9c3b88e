"""The text of a key, and what is stored of its secret."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.keys import Scope, hash_of, is_key_id, matches, new_key, parse

SECRET = "5ae0" * 16
TEXT = f"saec_0123456789ab_{SECRET}"
hexadecimal = st.characters(categories=(), include_characters="0123456789abcdef")


def test_a_new_key_is_what_its_text_says() -> None:
    text, key_id, secret_hash = new_key()
    parsed = parse(text)
    assert parsed is not None
    assert parsed[0] == key_id
    assert is_key_id(key_id)
    assert matches(parsed[1], secret_hash)
    assert len(secret_hash) == 32
    assert (text.isascii(), len(text)) == (True, 82)


def test_no_two_keys_have_anything_in_common() -> None:
    made = [new_key() for _ in range(100)]
    assert len({key_id for _, key_id, _ in made}) == 100
    assert len({secret_hash for _, _, secret_hash in made}) == 100
    assert len({text.partition("_")[2].partition("_")[2] for text, _, _ in made}) == 100


@given(st.text(hexadecimal, min_size=12, max_size=12), st.binary(min_size=32, max_size=32))
def test_every_key_is_read_back(key_id: str, secret: bytes) -> None:
    assert parse(f"saec_{key_id}_{secret.hex()}") == (key_id, secret.hex())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "saec_",
        TEXT[:-1],
        f"{TEXT}0",
        f"{TEXT}\n",
        f" {TEXT}",
        f"Bearer {TEXT}",
        TEXT.upper(),
        TEXT.replace("saec", "SAEC"),
        TEXT.replace("_", "-"),
        TEXT.replace("0", "\N{FULLWIDTH DIGIT ZERO}"),
        TEXT.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"),
        TEXT.replace("5ae0", "5ag0"),
        TEXT.replace("5ae0", "5a\ud800e"),
        TEXT * 100_000,
    ],
)
def test_nearly_a_key_is_none(text: str) -> None:
    assert parse(text) is None


@given(st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    assert parse(text) is None
    assert parse(f"saec_{text}") is None


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_key_with_another_character_is_another_key_or_none(place: int, other: str) -> None:
    changed = TEXT[:place] + other + TEXT[place + 1 :]
    parsed = parse(changed)
    assert changed == TEXT or parsed is None or parsed != parse(TEXT)


def test_the_hash_is_sha256_of_the_secret_as_it_is_written() -> None:
    """Every release has to find the keys of the ones before it."""
    assert hash_of(SECRET) == hashlib.sha256(SECRET.encode()).digest()


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_only_the_secret_itself_matches(place: int, other: str) -> None:
    changed = SECRET[:place] + other + SECRET[place + 1 :]
    assert matches(changed, hash_of(SECRET)) == (changed == SECRET)


@pytest.mark.parametrize("stored", [b"", hash_of(SECRET)[:-1], SECRET.encode()])
def test_nothing_else_stored_matches(stored: bytes) -> None:
    assert not matches(SECRET, stored)


@pytest.mark.parametrize("text", ["", "0123456789a", "0123456789abc", "0123456789AB", TEXT])
def test_what_is_no_id(text: str) -> None:
    assert not is_key_id(text)


def test_scopes_are_written_as_they_are_stored() -> None:
    assert [str(scope) for scope in Scope] == ["schedule", "read", "operate"]
