"""What is wrong with a field, in words.

Owns the words for what the validator calls by codes of its own. Invariant: no code of the
validator's gets out, as they are nobody's contract, and may change with its next release.
"""

_WORDS = {
    "enum": "not one of its values",
    "extra_forbidden": "no such field",
    "missing": "is missing",
    "string_type": "not a text",
    "string_too_short": "is empty",
    "string_too_long": "too long",
    "string_pattern_mismatch": "has characters that are not allowed, or a space at an end",
    "string_unicode": "not Unicode",
    "dict_type": "not an object",
    "model_type": "not an object",
    "model_attributes_type": "not an object",
    "tuple_type": "not a list",
    "frozen_set_type": "not a list",
    "bytes_type": "not bytes",
}
_OF_FIELD = {
    ("lane", "enum"): "neither TRANSACTIONAL nor CAMPAIGN",
    ("message.subject", "string_pattern_mismatch"): "has line ends or control characters",
    ("name", "string_pattern_mismatch"): "has line ends or control characters",
}


def in_words(field: str, code: str) -> str:
    """What the validator's code means for a field, named as `message.subject` is."""
    return _OF_FIELD.get((field, code)) or _WORDS.get(code, "not valid")
