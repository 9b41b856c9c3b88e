"""Every kind of bad input that has a stated outcome: one table a topic, run by several tests."""

from dataclasses import replace

from tests.hostile.case import Case, rejected
from tests.hostile.envelopes import accepted, cancels, envelopes
from tests.hostile.fields import fields, ids, instants
from tests.hostile.registry import customers
from tests.hostile.unreadable import odd_json, unreadable


def _answered(case: Case) -> Case:
    """A refusal of the decoder is the answer."""
    return case if case.decoded is None else replace(case, answer=(rejected(case.decoded),))


_REQUESTS = (unreadable, odd_json, fields, ids, instants, accepted, envelopes, cancels)

REQUESTS = tuple(_answered(case) for some in _REQUESTS for case in some())
CUSTOMERS = tuple(_answered(case) for case in customers())
