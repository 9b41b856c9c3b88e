"""Who is let in, how much of them, and what becomes of keys that come and go."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import pytest

from saec.errors import StoreUnavailableError
from saec.http.keyring import Keyring
from saec.http.problems import Code, Problem
from saec.keys import Scope, new_key
from saec.store.keys import KeyRow
from tests.http.kit import asked, refused, run, standing_clock

NEVER = "0" * 64


def made(**changed: object) -> tuple[str, KeyRow]:
    """A key's text and its row."""
    text, key_id, secret_hash = new_key()
    row = KeyRow(key_id, secret_hash, "a job", "billing", tuple(Scope), None, 0, None, None)
    return text, replace(row, **changed)  # type: ignore[arg-type]


@dataclass
class Ring:
    """A keyring, the keys that PostgreSQL has, and a clock that stands still."""

    stored: list[KeyRow] = field(default_factory=list)
    rate: int = 1_000
    most_at_a_time: int = 100
    loads: int = 0
    now_s: float = 100.0
    is_away: bool = False

    def __post_init__(self) -> None:
        self.keyring = Keyring(self._load, self, self.rate, self.most_at_a_time)  # type: ignore[arg-type]

    def monotonic_s(self) -> float:
        return self.now_s

    async def _load(self) -> tuple[int, Sequence[KeyRow]]:
        self.loads += 1
        found = list(self.stored)
        for _ in range(10):
            await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailableError("PostgreSQL does not answer")
        return self.now_ms, found

    @property
    def now_ms(self) -> int:
        """PostgreSQL's clock."""
        return int(self.now_s * 1000)

    async def admit(self, text: str, *scopes: Scope) -> str:
        """Let somebody in, and out again; the requester in whose name they act."""
        headers = {"authorization": f"Bearer {text}"}
        async with self.keyring.admitted(asked(headers=headers), *(scopes or Scope)) as holder:
            return holder.requester


def headers_of(problem: Problem) -> set[str]:
    return {name.lower() for name in problem.headers}


def test_a_key_lets_its_requester_in() -> None:
    text, row = made(requester="crm")

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        assert await ring.admit(text) == "crm"
        for written in (f"bearer {text}", f"BEARER   {text} "):
            request = asked(headers={"authorization": written})
            async with ring.keyring.admitted(request, Scope.READ) as holder:
                assert holder.key == row
        assert ring.loads == 1

    run(work)


TEXT, ROW = made()


@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [TEXT],
        [f"Basic {TEXT}"],
        [f"Bearer {TEXT}", f"Bearer {TEXT}"],
        [f"Bearer {TEXT}, Bearer {TEXT}"],
        [f"Bearer {TEXT[:-1]}"],
        [f"Bearer {TEXT}0"],
        [f"Bearer {TEXT.upper()}"],
        [f"Bearer {TEXT[:-64]}{NEVER}"],
        [f"Bearer {made()[0]}"],
        ["Bearer saec_"],
        ["Bearer \xe9"],
        ["x" * 30_000],
    ],
)
def test_nobody_else_is_let_in(given: Iterable[str]) -> None:
    async def work() -> None:
        ring = Ring([ROW])
        await ring.keyring.refresh()
        request = asked(headers=[("Authorization", value) for value in given])
        problem = await refused(ring.keyring.admitted(request, *Scope).__aenter__())
        assert (problem.status, problem.code) == (401, Code.UNAUTHENTICATED)
        assert headers_of(problem) == {"www-authenticate"}
        assert TEXT[-64:] not in problem.detail
        assert await ring.admit(TEXT) == "billing"

    run(work)


@pytest.mark.parametrize("held", Scope)
@pytest.mark.parametrize("needed", [(Scope.SCHEDULE,), (Scope.READ, Scope.OPERATE)])
def test_one_of_the_scopes_is_needed(held: Scope, needed: tuple[Scope, ...]) -> None:
    text, row = made(scopes=(held,))

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        if held in needed:
            assert await ring.admit(text, *needed) == "billing"
            return
        problem = await refused(ring.admit(text, *needed))
        assert (problem.status, problem.code) == (403, Code.SCOPE_MISSING)
        assert all(scope in problem.detail for scope in needed)

    run(work)


@pytest.mark.parametrize(("own", "default"), [(5, 1_000), (None, 5)])
def test_more_than_the_rate_is_refused_until_some_time_has_passed(
    own: int | None, default: int
) -> None:
    (text, row), (other, another) = made(rate=own), made(rate=1_000)

    async def work() -> None:
        ring = Ring([row, another], rate=default)
        await ring.keyring.refresh()
        with standing_clock() as move:
            for _ in range(5):
                await ring.admit(text)
            problem = await refused(ring.admit(text))
            assert (problem.status, problem.code) == (429, Code.TOO_MANY_REQUESTS)
            assert headers_of(problem) == {"retry-after"}
            assert await ring.admit(other) == "billing"
            await ring.keyring.refresh()
            await refused(ring.admit(text))
            move(0.25)
            await ring.admit(text)
            await refused(ring.admit(text))

    run(work)


def test_a_rate_that_was_changed_counts_from_then_on() -> None:
    text, row = made(rate=1)

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        with standing_clock():
            await ring.admit(text)
            await refused(ring.admit(text))
            ring.stored = [replace(row, rate=2)]
            await ring.keyring.refresh()
            await ring.admit(text)
            await ring.admit(text)
            await refused(ring.admit(text))

    run(work)


def test_a_key_has_so_many_requests_at_a_time_and_no_more() -> None:
    (text, row), (other, another) = made(), made()
    headers = {"authorization": f"Bearer {text}"}

    async def work() -> None:
        ring = Ring([row, another], most_at_a_time=3)
        await ring.keyring.refresh()
        async with AsyncExitStack() as under_way:
            for _ in range(3):
                entered = ring.keyring.admitted(asked(headers=headers), Scope.READ)
                await under_way.enter_async_context(entered)
            problem = await refused(ring.admit(text))
            assert (problem.status, problem.code) == (429, Code.TOO_MANY_REQUESTS)
            assert headers_of(problem) == {"retry-after"}
            assert await ring.admit(other) == "billing"
            await ring.keyring.refresh()
            await refused(ring.admit(text))
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                async with ring.keyring.admitted(asked(headers=headers), Scope.READ):
                    raise ZeroDivisionError
        assert await ring.admit(text) == "billing"

    run(work)


def test_a_new_key_is_looked_up_but_not_at_every_guess() -> None:
    (text, row), (guess, _) = made(), made()

    async def work() -> None:
        ring = Ring()
        await ring.keyring.refresh()
        ring.stored.append(row)
        assert (await refused(ring.admit(text))).status == 401
        assert ring.loads == 1
        ring.now_s += 1.1
        assert await ring.admit(text) == "billing"
        for _ in range(10):
            assert (await refused(ring.admit(guess))).status == 401
        assert ring.loads == 2

    run(work)


@pytest.mark.parametrize("is_away", [False, True])
def test_many_guesses_at_once_cost_one_look(*, is_away: bool) -> None:
    async def work() -> None:
        ring = Ring()
        await ring.keyring.refresh()
        ring.now_s, ring.is_away = ring.now_s + 1.1, is_away
        guesses = [refused(ring.admit(made()[0])) for _ in range(50)]
        problems = await asyncio.gather(*guesses)
        assert {problem.status for problem in problems} == {503 if is_away else 401}
        assert ring.loads == 2

    run(work)


def test_who_hangs_up_does_not_end_the_look_for_others() -> None:
    text, row = made()

    async def work() -> None:
        ring = Ring()
        await ring.keyring.refresh()
        ring.stored, ring.now_s = [row], ring.now_s + 1.1
        first, second = (asyncio.create_task(ring.admit(text)) for _ in "ab")
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "billing"
        assert first.cancelled()

    run(work)


def test_a_key_that_was_revoked_is_refused_from_the_next_look_on() -> None:
    """Also where requests of it are under way, and then it is not let in again."""
    text, row = made()
    headers = {"authorization": f"Bearer {text}"}

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        async with ring.keyring.admitted(asked(headers=headers), Scope.READ):
            ring.stored.clear()
            await ring.keyring.refresh()
            assert (await refused(ring.admit(text))).status == 401
        assert (await refused(ring.admit(text))).status == 401

    run(work)


def test_scopes_that_were_taken_away_are_gone_from_the_next_look_on() -> None:
    text, row = made()

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        ring.stored = [replace(row, scopes=(Scope.READ,), requester="crm")]
        await ring.keyring.refresh()
        assert (await refused(ring.admit(text, Scope.SCHEDULE))).status == 403
        assert await ring.admit(text, Scope.READ) == "crm"

    run(work)


def test_while_postgresql_is_away_known_keys_stay_good_and_others_are_to_ask_again() -> None:
    (text, row), (other, another) = made(), made()

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        ring.stored, ring.is_away = [another], True
        for _ in range(3):
            ring.now_s += 60
            with pytest.raises(StoreUnavailableError):
                await ring.keyring.refresh()
            assert await ring.admit(text) == "billing"
            problem = await refused(ring.admit(other))
            assert (problem.status, problem.code) == (503, Code.POSTGRESQL_UNAVAILABLE)
            assert headers_of(problem) == {"retry-after"}
        wrong = await refused(ring.admit(text[:-64] + NEVER))
        assert wrong.status == 401
        ring.is_away = False
        ring.now_s += 2  # looked for again a second later at the earliest
        assert await ring.admit(other) == "billing"
        assert (await refused(ring.admit(text))).status == 401

    run(work)


def test_an_expired_key_is_refused_also_while_postgresql_is_away() -> None:
    """Its clock was read together with the keys, and is counted on."""
    (text, row), (other, another) = made(expires_at_ms=130_000), made(expires_at_ms=None)

    async def work() -> None:
        ring = Ring([row, another])
        await ring.keyring.refresh()
        ring.is_away = True
        ring.now_s += 29.9
        assert await ring.admit(text) == "billing"
        ring.now_s += 0.2
        assert (await refused(ring.admit(text))).status == 401
        assert await ring.admit(other) == "billing"

    run(work)


@pytest.mark.parametrize("how", ["revoked", "expired", "scope taken away"])
def test_who_was_let_in_is_looked_at_again(how: str) -> None:
    text, row = made(expires_at_ms=130_000)

    async def work() -> None:
        ring = Ring([row])
        await ring.keyring.refresh()
        request = asked(headers={"authorization": f"Bearer {text}"})
        async with ring.keyring.admitted(request, Scope.SCHEDULE) as holder:
            ring.keyring.check(holder, Scope.SCHEDULE)
            if how == "expired":
                ring.now_s += 30
            else:
                taken = replace(row, scopes=(Scope.READ,))
                ring.stored = [] if how == "revoked" else [taken]
                await ring.keyring.refresh()
            with pytest.raises(Problem) as caught:
                ring.keyring.check(holder, Scope.SCHEDULE)
            assert (caught.value.status, caught.value.code) == (401, Code.UNAUTHENTICATED)

    run(work)
