"""The events people publish (being completed)."""

from enum import StrEnum


class Channel(StrEnum):
    """Where a message goes out."""

    EMAIL = "EMAIL"
    SMS = "SMS"
    WHATSAPP = "WHATSAPP"
    PUSH = "PUSH"
