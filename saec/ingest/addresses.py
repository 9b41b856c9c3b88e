"""Addresses of customers, checked and brought into one form.

Invariant: what comes out can be put into a message's header or a dial string as it is: no control
characters, no line ends; and it is the mailbox or the number that was given, never a likely other
one. Nothing is looked up on the network. What is said of an address never quotes it.
"""

import re

import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, validate_email
from phonenumbers import PhoneNumberType

_MAX_PHONE_CHARS = 64
_PHONE = re.compile(r"\+?[0-9 ().\-/]+")
_DIGIT = re.compile(r"[0-9]")
# What is pasted from letters and chats: blanks and dashes that look like the ASCII ones, and marks
# that are not seen (of the direction of writing, of no width).
_BLANKS = "\u00a0\u2007\u2009\u202f"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"
_UNSEEN = "\u200b\u200e\u200f\u202a\u202b\u202c\u2060\u2066\u2067\u2068\u2069\ufeff"
_PASTED = str.maketrans(
    {
        **dict.fromkeys(_BLANKS, " "),
        **dict.fromkeys(_DASHES, "-"),
        **dict.fromkeys(_UNSEEN, None),
    }
)
_CARRIER = re.compile(r"0? ?[xX]{2}")
_EXTENSION = re.compile(r"[0-9].*(ramal|ext|\br|\bx|#)[ .:]*[0-9]{1,6}$", re.IGNORECASE)
_SCIENTIFIC = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+?[0-9]{1,2}")
_DECIMAL = re.compile(r"\+?[0-9]{8,15}[.,]0+")
_WITH_COUNTRY = re.compile(r"55[0-9]{10,11}")
_OLD_MOBILE = re.compile(r"(55)?[1-9][0-9][6-9][0-9]{7}")
_RESERVED = re.compile(
    r".*[@.](" + "|".join(re.escape(name) for name in SPECIAL_USE_DOMAIN_NAMES) + r")", re.DOTALL
)
_SERVICES = {
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.UAN,
    PhoneNumberType.VOICEMAIL,
    PhoneNumberType.PAGER,
}
_MOBILES = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}


class AddressError(ValueError):
    """Why a text is no address, in words that do not quote it."""


def email(text: str) -> str:
    """The address: its local part as given, its domain in lower case; ASCII stays ASCII.

    Raises:
        AddressError: it is none, or another mailbox would come out.
    """
    try:
        valid = validate_email(text, check_deliverability=False, strict=True)
    except ValueError:  # its own error, and what a text that is no Unicode leads to
        raise AddressError(_no_email(text)) from None
    local, _, domain = text.rpartition("@")
    if valid.local_part != local:
        raise AddressError(
            "has a letter before the @ that normalisation would change into another one"
        )
    return f"{local}@{domain.lower() if domain.isascii() else valid.domain}"


def phone(text: str) -> str:
    """The number in E.164. Without a country code it is a Brazilian mobile, or none.

    Raises:
        AddressError: it is no number that a message may reach.
    """
    if len(text) > _MAX_PHONE_CHARS:
        raise AddressError("too long")
    plain = text.translate(_PASTED).strip(" ").removeprefix("tel:")
    if not _PHONE.fullmatch(plain) or _DECIMAL.fullmatch(plain):
        raise AddressError(_no_number(plain))
    digits = "".join(_DIGIT.findall(plain))
    if digits.startswith("00"):
        raise AddressError("begins with 00; write + and the country code")
    return _valid_number(plain, digits)


def _valid_number(plain: str, digits: str) -> str:
    try:
        number = phonenumbers.parse(plain, "BR")
    except phonenumbers.NumberParseException:
        raise AddressError("not a phone number") from None
    kind = phonenumbers.number_type(number)
    if not phonenumbers.is_valid_number(number):
        raise AddressError(_invalid_number(plain, digits))
    if kind in _SERVICES:
        raise AddressError("a service's number, such as 0800 or 4002: nobody gets messages there")
    named = plain.startswith("+") or _WITH_COUNTRY.fullmatch(digits)
    if not named and kind not in _MOBILES:
        raise AddressError(
            "no country code, and not a Brazilian mobile; write + and the country code"
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _no_email(text: str) -> str:
    """What is wrong with a text that is no e-mail address."""
    if text != text.strip() or text.strip(_UNSEEN) != text:
        return "a blank before or behind it"
    if "<" in text:
        return "a name with an address; give the address alone"
    if text.count("@") > 1:
        return "more than one address, or more than one @"
    if "@" not in text:
        return "not an e-mail address: no @"
    if _RESERVED.fullmatch(text.lower()):
        return "its domain is reserved (such as .local, .test and .invalid): no mail gets there"
    return "not an e-mail address"


def _no_number(text: str) -> str:
    """What is wrong with a text that has more than a number has."""
    if _SCIENTIFIC.fullmatch(text):
        return "in scientific notation, as spreadsheets write it: its last digits are lost"
    if _DECIMAL.fullmatch(text):
        return "a number with decimals, as spreadsheets write it; give the digits alone"
    if _CARRIER.search(text):
        return "0xx stands for a carrier; leave it out"
    if _EXTENSION.search(text):
        return "an extension; give the number alone"
    return "not a phone number"


def _invalid_number(plain: str, digits: str) -> str:
    brazilian = not plain.startswith("+") or plain.startswith("+55")
    if brazilian and _OLD_MOBILE.fullmatch(digits.removeprefix("0")):
        return "a mobile without its ninth digit"
    if brazilian and len(digits.removeprefix("0")) in {8, 9}:
        return "no area code"
    return "no number of its country"
