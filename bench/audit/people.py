"""The customers of a history: who they are, and how they can be reached.

Pure. Invariant: what is registered in saec.customers is what messages are addressed by; one in a
hundred can somehow not be written to.
"""

from collections.abc import Iterator

from saec.contracts import avro
from saec.contracts.events import Channel, channels_to_bits
from saec.store.customers import Contact

_EVERY = 400
_UNKNOWN, _NO_EMAIL, _NO_PHONE, _OPTED_OUT = 50, 150, 250, 350
_REFUSED = (Channel.EMAIL, Channel.SMS)


class People:
    """The customers c0, c1, and so on."""

    def __init__(self, count: int) -> None:
        self.ids = tuple(f"c{number}" for number in range(count))
        self.contacts = {
            id_: _contact(number)
            for number, id_ in enumerate(self.ids)
            if number % _EVERY != _UNKNOWN
        }

    def some(self, first: int, count: int) -> tuple[str, ...]:
        """So many of them from one on, beginning anew behind the last; at most all."""
        last = first + count - len(self.ids)
        return self.ids[first : first + count] + (self.ids[:last] if last > 0 else ())

    def events(self) -> Iterator[tuple[str, bytes]]:
        """Id and CustomerRegistered of each that is known."""
        for id_, contact in self.contacts.items():
            yield (
                id_,
                avro.encode_single(
                    "customer_registered",
                    {
                        "id": id_,
                        "name": None,
                        "email": contact.email,
                        "phone": contact.phone,
                        "opted_out": list(_REFUSED) if contact.opted_out else [],
                    },
                ),
            )


def _contact(number: int) -> Contact:
    which = number % _EVERY
    return Contact(
        None if which == _NO_EMAIL else f"c{number}@example.com",
        None if which == _NO_PHONE else f"+55119{number:08}",
        channels_to_bits(_REFUSED) if which == _OPTED_OUT else 0,
    )
