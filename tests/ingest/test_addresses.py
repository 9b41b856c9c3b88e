"""Addresses: one form, or none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saec.ingest.addresses import email, phone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ana@example.com", "ana@example.com"),
        ("Ana.Silva+faturas@EXAMPLE.com", "Ana.Silva+faturas@example.com"),
        ("joão@exemplo.com.br", "joão@exemplo.com.br"),
        ("ana@xn--exmplo-jva.com.br", "ana@exêmplo.com.br"),
    ],
)
def test_a_valid_e_mail_address_is_normalised(text: str, expected: str) -> None:
    assert email(text) == expected


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
    assert email(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+5511987654321", "+5511987654321"),
        ("+55 (11) 98765-4321", "+5511987654321"),
        ("(11) 98765-4321", "+5511987654321"),
        ("011 98765-4321", "+5511987654321"),
        ("+351 912 345 678", "+351912345678"),
        ("+1 650-253-0000", "+16502530000"),
    ],
)
def test_a_valid_phone_number_becomes_e164(text: str, expected: str) -> None:
    assert phone(text) == expected


def test_the_region_of_a_number_without_country_can_be_another() -> None:
    assert phone("912 345 678", "PT") == "+351912345678"


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "123", "+55119876543", "+551198765432100", "+999123456789", "98765-4321"),
        *("+5511987654321\n", "+5511987654321\r\nX: y", "+5511987654321\x00", "tel:+5511987654321"),
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
    assert phone(text) is None


@settings(deadline=None)
@given(st.text(max_size=100))
def test_any_text_has_an_answer(text: str) -> None:
    email(text)
    phone(text)


@settings(deadline=None)
@given(st.text("0123456789+-()./ ", max_size=30))
def test_what_comes_out_stays_as_it_is(text: str) -> None:
    number = phone(text)
    assert number is None or phone(number) == number
