"""Addresses: one form, or none."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saec.ingest.addresses import AddressError, email, phone

NBSP, NO_BREAK_HYPHEN, EN_DASH = "\u00a0", "\u2011", "\u2013"
LRE, PDF = "\u202a", "\u202c"


def said(text: str) -> str:
    """What is said of a text that is no phone number, or no e-mail address."""
    with pytest.raises(AddressError) as caught:
        (email if "@" in text else phone)(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ana@example.com", "ana@example.com"),
        ("Ana.Silva+faturas@EXAMPLE.com", "Ana.Silva+faturas@example.com"),
        ("joão@exemplo.com.br", "joão@exemplo.com.br"),
        ("ana@xn--exmplo-jva.com.br", "ana@xn--exmplo-jva.com.br"),
        ("ana@XN--mnchen-3ya.de", "ana@xn--mnchen-3ya.de"),
        ("ana@München.de", "ana@münchen.de"),
    ],
)
def test_a_valid_e_mail_address_stays_the_mailbox_that_was_given(text: str, expected: str) -> None:
    """What is ASCII stays ASCII: not every sender knows Unicode in a domain."""
    assert email(text) == expected


@pytest.mark.parametrize(
    "text", ["a\u212ab@example.com", "x\u1fefy@example.com", "joa\u0303o@a.com"]
)
def test_an_address_is_never_changed_into_another_mailbox(text: str) -> None:
    assert "normalisation" in said(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ana@loja.local", "reserved"),
        ("ana@example.test", "reserved"),
        ("ana@x.invalid", "reserved"),
        ("ana@example.com ", "blank"),
        (f"ana@example.com{NBSP}", "blank"),
        ("\u200bana@example.com", "blank"),
        ("Ana <ana@example.com>", "a name"),
        ("ana@example.com,eva@example.com", "more than one"),
        ("+55 11 8765-4321", "ninth digit"),
        ("11 8765-4321", "ninth digit"),
        ("5511 8765 4321", "ninth digit"),
        ("98765-4321", "no area code"),
        ("+55 (0xx11) 98765-4321", "carrier"),
        ("0055 11 98765-4321", "begins with 00"),
        ("(11) 98765-4321 ramal 12", "extension"),
        ("+5511987654321 ext. 5", "extension"),
        ("5,51198765E+12", "scientific notation"),
        ("5.51198765E+12", "scientific notation"),
        ("5511987654321.0", "decimals"),
        ("5511987654321,0", "decimals"),
        ("0800 123 4567", "service"),
        ("4002-8922", "service"),
        ("+55 4002-8922", "service"),
        ("3003 4000", "service"),
        ("+449098790000", "service"),
        ("(213) 265-4321", "no country code"),
        ("(11) 3265-4321", "no country code"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    assert words in said(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ana", "ana@", "@example.com", "ana@example", "ana@@example.com", "a b@example.com"),
        *("ana@example.com\r\nBcc: x@example.com", "ana@example.com\n", "a\x00na@example.com"),
        *("Ana <ana@example.com>", "ana@example.com,eva@example.com", "ana@[127.0.0.1]"),
        *("ana@localhost", "a" * 65 + "@example.com", "a" * 1_000, "ana@" + "a." * 490 + "com"),
        *(" ana@example.com", "ana@example.com ", "ana@xn--a.com", "\ud800@example.com"),
    ],
)
def test_anything_else_is_no_e_mail_address(text: str) -> None:
    with pytest.raises(AddressError):
        email(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+5511987654321", "+5511987654321"),
        ("+55 (11) 98765-4321", "+5511987654321"),
        ("(11) 98765-4321", "+5511987654321"),
        ("011 98765-4321", "+5511987654321"),
        ("+351 912 345 678", "+351912345678"),
        ("+1 650-253-0000", "+16502530000"),
        ("5511987654321", "+5511987654321"),
        ("55 55 98765-4321", "+5555987654321"),
        ("(55) 98765-4321", "+5555987654321"),
        ("+55 11 3265-4321", "+551132654321"),
        ("551132654321", "+551132654321"),
        ("tel:+5511987654321", "+5511987654321"),
        (f"+55{NBSP}11{NBSP}98765{NO_BREAK_HYPHEN}4321", "+5511987654321"),
        (f"11 98765{EN_DASH}4321", "+5511987654321"),
        (f"{LRE}+55 11 98765-4321{PDF}", "+5511987654321"),
    ],
)
def test_a_valid_phone_number_becomes_e164(text: str, expected: str) -> None:
    assert phone(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "123", "+55119876543", "+551198765432100", "+999123456789", "98765-4321"),
        *("+5511987654321\n", "+5511987654321\r\nX: y", "+5511987654321\x00"),
        *(
            "+5511987654321 ext. 5",
            "0800-FLOWERS",
            "+55119876５4321",
            "ana@example.com",
            "1" * 1_000,
        ),
    ],
)
def test_anything_else_is_no_phone_number(text: str) -> None:
    with pytest.raises(AddressError):
        phone(text)


def _words_of(check: Callable[[str], str], text: str) -> str:
    try:
        check(text)
    except AddressError as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.text(max_size=100) | st.emails())
def test_any_text_has_an_answer_that_does_not_quote_it(text: str) -> None:
    for check in (email, phone):
        words = _words_of(check, text)
        assert len(text) < 8 or text not in words


@settings(deadline=None)
@given(st.text("0123456789+-()./ ", max_size=30))
def test_what_comes_out_stays_as_it_is(text: str) -> None:
    with suppress(AddressError):
        number = phone(text)
        assert phone(number) == number


@settings(deadline=None)
@given(st.emails())
def test_so_does_an_e_mail_address(text: str) -> None:
    with suppress(AddressError):
        address = email(text)
        assert email(address) == address
        assert address.isascii() == text.isascii()
