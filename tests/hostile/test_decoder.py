"""The decoder alone, on every kind of bad input."""

from collections.abc import Callable
from functools import partial

import pytest

from saec.contracts.decode import RejectedError, decode_customer, decode_request
from tests.hostile.case import MAX_BYTES, SECRET, Case, is_in_words
from tests.hostile.cases import CUSTOMERS, REQUESTS


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_of_the_requests_topic(case: Case) -> None:
    read = partial(decode_request, case.value, case.headers, MAX_BYTES)
    if case.decoded is None:
        assert read().id == case.request_id
    else:
        refused = refusal(read, case)
        assert refused.request_id == (case.request_id if case.names_request else None)


@pytest.mark.parametrize("case", CUSTOMERS, ids=lambda case: case.name)
def test_of_the_customers_topic(case: Case) -> None:
    read = partial(decode_customer, case.key, case.value, case.headers, MAX_BYTES)
    if case.decoded is None:
        assert read().id.encode() == case.key
    else:
        refusal(read, case)


def refusal(read: Callable[[], object], case: Case) -> RejectedError:
    """The error of a case, which is as it is stated, and quotes nothing."""
    with pytest.raises(RejectedError) as caught:
        read()
    assert caught.value.reason == case.decoded
    assert case.hint in caught.value.detail
    assert is_in_words(caught.value.detail), caught.value.detail
    assert SECRET not in str(caught.value)
    assert len(caught.value.detail) < 200
    return caught.value


def test_names_are_unique() -> None:
    """Else a case would hide another, or take its id."""
    for table in (REQUESTS, CUSTOMERS):
        assert len({case.name for case in table}) == len(table)
