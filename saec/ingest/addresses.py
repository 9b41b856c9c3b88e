"""Addresses of customers, checked and brought into one form.

Invariant: what comes out can be put into a message's header or a dial string as it is: no control
characters, no line ends. Nothing is looked up on the network.
"""

import re

import phonenumbers
from email_validator import validate_email

_MAX_PHONE_CHARS = 64
_PHONE = re.compile(r"\+?[0-9 ().\-/]+")


def email(text: str) -> str | None:
    """The normalised address (domain in lower case), or None if it is not a valid one."""
    try:
        return validate_email(text, check_deliverability=False, strict=True).normalized
    except ValueError:  # its own error, and what a text that is no Unicode leads to
        return None


def phone(text: str, default_region: str = "BR") -> str | None:
    """The number in E.164, or None; without a country code it is one of `default_region`."""
    if len(text) > _MAX_PHONE_CHARS or not _PHONE.fullmatch(text):
        return None
    try:
        number = phonenumbers.parse(text, default_region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
