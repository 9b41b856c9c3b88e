"""Every error SAEC raises, and the closed list of reason codes it answers with.

Owns the exception root and `Reason`. Invariant: no message and no reason ever quotes an
address, a message body or any other value that a stranger wrote.
"""

from enum import StrEnum


class SaecError(Exception):
    """Root of every error that SAEC raises on purpose.

    `away` names the part whose absence it tells of, if any: it passes when that is back.
    """

    away: str | None = None


class Reason(StrEnum):
    """Why a record was refused or a message not sent. Stable: codes are added, never changed."""

    # the value could not be read at all
    EMPTY_VALUE = "empty_value"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    INVALID_AVRO = "invalid_avro"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    VALUE_TOO_LARGE = "value_too_large"
    UNREADABLE_RECORD = "unreadable_record"
    NO_APPEND_TIME = "no_append_time"
    # the value was read, but is not a valid event
    INVALID_EVENT = "invalid_event"
    INVALID_ID = "invalid_id"
    INVALID_INSTANT = "invalid_instant"
    UNKNOWN_CHANNEL = "unknown_channel"
    INVALID_CUSTOMERS = "invalid_customers"
    INVALID_MESSAGE = "invalid_message"
    KEY_MISMATCH = "key_mismatch"
    # a valid event that cannot be accepted
    DUE_IN_THE_PAST = "due_in_the_past"
    DUE_BEYOND_HORIZON = "due_beyond_horizon"
    EXPIRES_BEFORE_DUE = "expires_before_due"
    REQUEST_TOO_LARGE = "request_too_large"
    ID_TAKEN = "id_taken"
    OTHER_REQUESTER = "other_requester"
    REQUESTER_MISMATCH = "requester_mismatch"
    # an address that is kept out of the registry
    INVALID_EMAIL = "invalid_email"
    INVALID_PHONE = "invalid_phone"
    # a record of the registry that came too late; for an erasure of nobody: UNKNOWN_CUSTOMER
    SUPERSEDED = "superseded"
    # an accepted message that cannot go out
    EXPIRED = "expired"
    UNKNOWN_CUSTOMER = "unknown_customer"
    NO_ADDRESS = "no_address"
    OPTED_OUT = "opted_out"
    SEVERAL = "several"


class ConfigurationError(SaecError):
    """The settings, the database or the topics do not fit together."""


class StoreUnavailableError(SaecError):
    """PostgreSQL did not answer, or the transaction's outcome is not known."""

    away: str | None = "PostgreSQL"


class StoreChangedError(SaecError):
    """The database is not as this process left it: whoever gets this looks at all of it anew."""


class LostRecordsError(ConfigurationError):
    """Kafka does not hold any more what it had acknowledged."""


class BrokerUnavailableError(SaecError):
    """Kafka did not answer within its bound, or refused the call."""

    away = "Kafka"
