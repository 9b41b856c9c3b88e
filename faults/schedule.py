"""Which fault strikes when: drawn from the seed, one after the other.

Each role has a deck of its named steps, before and after, to die at; it is dealt anew when it is
empty, and a card that nobody came to is played again, so that each step is struck. Between deaths
the role must have got something done: otherwise nothing would ever be under way to be struck.
Invariant: the same seed draws the same faults in the same order; whom a trap catches depends on who
comes first.
"""

import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from faults.control import Control, Step, Trap
from faults.parts import Parts
from faults.processes import Fleet, Member
from faults.proxy import Direction, Proxy
from faults.restore import PUT_BACK, RESTORES, Restore
from faults.steps import KAFKA_COMMITS, REQUIRED, STORE_COMMITS

Card = tuple[Step, str]
_DIE = "die at a step"
_WHEN = ("before", "after")
_TRAP_S = 8.0  # how long a trap waits before something is done to make somebody come by
_PROVOKED_S = 12.0
_PROGRESS_S = 20.0
_LONGEST_S = 300.0
_CALL_TIMEOUT_S = 30.0
_CLOCK_OFF_S = 8.0  # a worker whose clock is behind sends nothing meanwhile
# Less than `workload.LARGE_BYTES`, and more than any other message.
_TOO_LITTLE_BYTES = 3_000
_ENOUGH_BYTES = 1_048_588
_PROGRESS = {"dispatch": "emit/commit", "requests": "answer/commit", "customers": "answer/commit"}
_AT_ONCE = {"dispatch": 2, "requests": 1, "customers": 1}

# Seconds until the first restore, and between two; they take long, and nothing else is tried then.
_FIRST_RESTORE_S = (40.0, 70.0)
_RESTORES_S = (240.0, 480.0)

# How often each kind is drawn, relative to the others. Deaths at steps have a pace of their own,
# and so have restores.
SHARES = {
    _DIE: 4,
    "kill": 10,
    "stop at a step": 14,
    "stop": 6,
    "hang at a step": 10,
    "lose the answer to a commit": 10,
    "delay a commit": 8,
    "restart a worker": 3,
    "add and remove a worker": 3,
    "cut": 5,
    "slow network": 3,
    "one direction lost": 4,
    "end sessions": 3,
    "PostgreSQL down": 2,
    "broker down": 2,
    "step the clock": 2,
    "a topic takes less": 2,
}
KINDS = (*SHARES, *RESTORES)


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened: when (ms), for how long it lasted, what, and to whom."""

    at_ms: int
    kind: str
    what: str
    ended_ms: int


class Deck:
    """Steps of a role to die at; each step once before any comes again."""

    def __init__(self, seed: str, steps: list[Step]) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self._steps = steps
        self._cards: list[Card] = []

    def draw(self) -> Card:
        """The next card."""
        if not self._cards:
            order = self.chance.sample(self._steps, len(self._steps))
            first = {step: self.chance.choice(_WHEN) for step in order}
            self._cards = [(step, first[step]) for step in order]
            self._cards += [(step, _WHEN[first[step] == _WHEN[0]]) for step in order]
        return self._cards.pop(0)

    def put_back(self, card: Card) -> None:
        """Nobody came: it is played again soon."""
        self._cards.insert(min(2, len(self._cards)), card)


@dataclass
class Faults:
    """Strikes, and keeps account. Each fault runs in a thread of its own, so that they overlap."""

    parts: Parts
    fleet: Fleet
    control: Control
    database: Callable[[str], Any]
    seed: int
    only: tuple[str, ...] = ()
    steps: tuple[Step, ...] = REQUIRED
    struck: list[Struck] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}/faults")  # noqa: S311
        self._decks = {
            role: Deck(f"{self.seed}/{role}", [step for step in self.steps if step[0] == role])
            for role in {step[0] for step in self.steps}
        }
        self._deadline_s = self._extra_s = 0.0
        self._threads: list[threading.Thread] = []
        self._down = threading.Lock()
        self._extra = 0
        self.restore = Restore(self.parts, self.fleet, self.control, self.stopping, self._down)
        self._drawn = tuple(kind for kind in self.only if kind not in RESTORES)

    def run(self, seconds: float, every_s: float, extra_s: float = 0.0) -> None:
        """Strike on average every `every_s`, for `seconds`; then let all of them end.

        Unless only some kinds are wanted, each role dies at its steps meanwhile. It goes on for up
        to `extra_s` more while a step was not struck yet.
        """
        self._deadline_s = time.monotonic() + seconds
        self._extra_s = extra_s
        if not self.only:
            for role in self._decks:
                self._spawn(self._play_deck, role)
            self._spawn(self._play_restores, _FIRST_RESTORE_S, _RESTORES_S)
        elif set(RESTORES) & set(self.only):
            # Time to catch up in between: otherwise there is little to throw back.
            self._spawn(self._play_restores, *2 * [(4 * every_s, 8 * every_s)])
        kinds: list[str] = []
        while self._is_on():
            self._wait_calm()
            kinds = kinds or self._draw_kinds()
            if kinds:
                self._spawn(self._strike, kinds.pop(), _fork(self._chance))
            self.stopping.wait(every_s * self._chance.uniform(0.5, 1.5))
        for thread in list(self._threads):
            thread.join(_LONGEST_S)

    def _draw_kinds(self) -> list[str]:
        """The next kinds: by their shares, or those wanted, each as often as any other."""
        if self.only:
            return self._chance.sample(self._drawn, len(self._drawn))
        return self._chance.choices(list(SHARES), list(SHARES.values()))

    def _play_restores(self, first_s: tuple[float, float], every_s: tuple[float, float]) -> None:
        """Now and then the database is thrown back; one time after the other."""
        chance = random.Random(f"{self.seed}/restores")  # noqa: S311
        kinds = [kind for kind in RESTORES if not self.only or kind in self.only]
        pause_s = chance.uniform(*first_s)
        while self._goes_on_for(pause_s):
            self.restore.back_up(chance)
            self._strike(chance.choice(kinds), _fork(chance))
            pause_s = chance.uniform(*every_s)

    def _goes_on_for(self, seconds: float) -> bool:
        until_s = time.monotonic() + seconds
        while self._is_on() and time.monotonic() < until_s:
            self.stopping.wait(0.2)
        return self._is_on()

    def _wait_calm(self) -> None:
        """Until no database is being restored."""
        while not self.stopping.is_set() and not self.restore.calm.wait(0.2):
            pass

    def _is_on(self) -> bool:
        late_s = time.monotonic() - self._deadline_s
        missing = not all(self.control.struck[step] for step in self.steps)
        return not self.stopping.is_set() and (late_s < 0 or (missing and late_s < self._extra_s))

    def _spawn(self, target: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _play_deck(self, role: str) -> None:
        """Let processes of a role die at its steps, some at once, as long as they get on."""
        deck = self._decks[role]
        while self._is_on():
            self._wait_calm()
            volley = [
                self._spawn(self._strike, _DIE, _fork(deck.chance), deck.draw())
                for _ in range(_AT_ONCE[role])
            ]
            for thread in volley:
                thread.join()
            self._wait_for_progress(role)
            self.stopping.wait(deck.chance.uniform(0.1, 1.0))

    def _wait_for_progress(self, role: str) -> None:
        step = (role, _PROGRESS[role])
        before, deadline_s = self.control.passed[step], time.monotonic() + _PROGRESS_S
        # Before and after each commit: the first that is counted may have begun earlier.
        while self.control.passed[step] < before + 4 and time.monotonic() < deadline_s:
            if self.stopping.wait(0.1):
                return

    def _strike(self, kind: str, chance: random.Random, card: Card | None = None) -> None:
        began_ms = _now_ms()
        try:
            if kind == _DIE:
                what = self._die_at(chance, card)
            elif kind in RESTORES:
                what = self.restore.strike(chance, in_place=kind == PUT_BACK)
            else:
                what = getattr(self, "_" + kind.replace(" ", "_").lower())(chance)
        except Exception as error:  # a process that was just gone
            what = f"could not: {type(error).__name__}: {error}"
        self.struck.append(Struck(began_ms, kind, what, _now_ms()))

    def _die_at(self, chance: random.Random, card: Card | None) -> str:
        deck = self._decks[card[0][0] if card else chance.choice(sorted(self._decks))]
        card = card or deck.draw()
        trap = Trap(*card, "die", self.fleet.doom)
        said = self._spring(chance, trap)
        if not trap.hit.is_set():
            deck.put_back(card)
        return said

    def _stop_at_a_step(self, chance: random.Random) -> str:
        stopped: list[str] = []
        trap = Trap(self._dispatch_step(chance), chance.choice(_WHEN), "stop")
        trap.on_hit = stopped.append
        said = self._spring(chance, trap)
        if stopped:
            self._wake(stopped[0], chance.choice((1.0, 5.0, 7.5, 7.5, 9.0, 12.0)))
        return said

    def _hang_at_a_step(self, chance: random.Random) -> str:
        seconds = chance.choice((0.05, 0.2, 0.5, 1.5, 8.0))
        step = self._dispatch_step(chance)
        when = chance.choice(_WHEN)
        return self._spring(chance, Trap(step, when, f"hang {seconds}"))

    def _lose_the_answer_to_a_commit(self, chance: random.Random) -> str:
        """The commit arrives, its answer does not."""
        seconds, dies = chance.choice((0.5, 2.0, 8.0)), chance.random() < 0.3
        return self._at_commit(chance, Direction.TO_CLIENT, seconds, dies=dies)

    def _delay_a_commit(self, chance: random.Random) -> str:
        """The commit arrives when its sender may have been replaced, or is dead."""
        seconds, dies = chance.choice((1.0, 5.5, 8.0, 11.0)), chance.random() < 0.3
        return self._at_commit(chance, Direction.TO_SERVER, seconds, dies=dies)

    def _at_commit(
        self, chance: random.Random, direction: Direction, seconds: float, *, dies: bool
    ) -> str:
        step = chance.choice(chance.choice((KAFKA_COMMITS, STORE_COMMITS)))
        caught: list[Proxy] = []

        def on_hit(name: str) -> None:
            member = self.fleet.members.get(name)
            if member is None:
                return  # on its way out
            proxy = member.kafka if step in KAFKA_COMMITS else member.postgres
            proxy.freeze(direction)
            caught.append(proxy)

        trap = Trap(step, "before", "go", on_hit)
        said = self._spring(chance, trap)
        for proxy in caught:
            if dies:
                self.stopping.wait(0.3)
                self.fleet.kill(trap.by)
            self.stopping.wait(seconds)
            if direction is Direction.TO_CLIENT:
                proxy.cut()
            proxy.mend()
        return f"{said}, {direction.value} for {seconds} s{', and dies' if dies else ''}"

    def _kill(self, chance: random.Random) -> str:
        member = self._anyone(chance)
        self.fleet.kill(member.name)
        return member.name

    def _stop(self, chance: random.Random) -> str:
        member = self._anyone(chance)
        member.signal(signal.SIGSTOP)
        seconds = chance.choice((2.0, 7.0, 9.0, 14.0))
        self._wake(member.name, seconds)
        return f"{member.name} for {seconds} s"

    def _restart_a_worker(self, chance: random.Random) -> str:
        member = self._anyone(chance)
        self.fleet.restart(member.name, chance.choice((0.0, 1.0, 5.0)))
        return member.name

    def _add_and_remove_a_worker(self, chance: random.Random) -> str:
        self._extra += 1
        role = chance.choice(("requests", "customers", "dispatch", "dispatch"))
        name = f"{role}-extra{self._extra}"
        self.fleet.add(name)
        self.stopping.wait(chance.uniform(4.0, 15.0))
        self.fleet.remove(name)
        return name

    def _cut(self, chance: random.Random) -> str:
        for member in (chosen := self._some(chance)):
            self._proxy(member, chance).cut()
        return ", ".join(member.name for member in chosen)

    def _slow_network(self, chance: random.Random) -> str:
        chosen, delay_s = self._some(chance), chance.choice((0.02, 0.1, 0.4))
        proxies = [self._proxy(member, chance) for member in chosen]
        for proxy in proxies:
            proxy.delay(delay_s)
        self.stopping.wait(5.0)
        for proxy in proxies:
            proxy.mend()
        return f"{len(chosen)} processes, {delay_s} s"

    def _one_direction_lost(self, chance: random.Random) -> str:
        member, direction = self._anyone(chance), chance.choice(list(Direction))
        proxy = self._proxy(member, chance)
        proxy.freeze(direction)
        seconds = chance.choice((1.0, 4.0, 9.0))
        self.stopping.wait(seconds)
        if chance.random() < 0.5:
            proxy.cut()
        proxy.mend()
        return f"{member.name}, {direction.value}, {seconds} s"

    def _end_sessions(self, _: random.Random) -> str:
        self.database(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = 'saec' AND pid <> pg_backend_pid()"
        )
        return "all"

    def _postgresql_down(self, chance: random.Random) -> str:
        how = chance.choice((signal.SIGQUIT, signal.SIGQUIT, signal.SIGKILL, signal.SIGINT))
        with self._down:
            self.parts.kill_postgres(how)
            self.stopping.wait(chance.choice((0.0, 1.0, 4.0)))
            self.parts.start_postgres()
        return how.name

    def _broker_down(self, chance: random.Random) -> str:
        with self._down:
            self.parts.kill_broker()
            self.stopping.wait(chance.choice((0.0, 2.0)))
            self.parts.start_broker()
        return "SIGKILL"

    def _a_topic_takes_less(self, chance: random.Random) -> str:
        """The large messages of a channel are refused for a while; nothing else may wait."""
        topic = f"saec.dispatch.{chance.choice(('email', 'sms', 'whatsapp'))}"
        self._limit(topic, _TOO_LITTLE_BYTES)
        self.stopping.wait(seconds := chance.choice((3.0, 8.0, 15.0)))
        self._limit(topic, _ENOUGH_BYTES)
        return f"{topic} for {seconds} s"

    def _limit(self, topic: str, largest_bytes: int) -> None:
        value = str(largest_bytes)
        entry = ConfigEntry("max.message.bytes", value, incremental_operation=AlterConfigOpType.SET)
        asked = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.parts.bootstrap_servers, "log_level": 0})
        with self._down:  # while the broker is there
            admin.incremental_alter_configs([asked])[asked].result(_CALL_TIMEOUT_S)

    def _step_the_clock(self, chance: random.Random) -> str:
        seconds = chance.choice((-86_400, -300, -2, 2, 300, 86_400))
        command = f"clock {seconds} {_CLOCK_OFF_S}"
        return self._spring(chance, Trap(self._dispatch_step(chance), "before", command))

    def _spring(self, chance: random.Random, trap: Trap) -> str:
        """Wait until somebody walks into a trap, and see to it that somebody does."""
        self.control.arm(trap)
        if not trap.hit.wait(_TRAP_S):
            self._provoke(chance, trap.step)
            trap.hit.wait(_PROVOKED_S)
        self.control.disarm(trap)
        where = f"{trap.step[0]}: {trap.when} {trap.step[1]}"
        return f"{where} ({trap.by})" if trap.hit.is_set() else f"{where} (nobody came)"

    def _provoke(self, chance: random.Random, step: Step) -> None:
        """Make somebody go through a takeover, a release, a start, or a failure."""
        role, name = step
        member = chance.choice(self.fleet.of(role))
        if name == "go back":
            member.postgres.cut()
        elif role == "dispatch":
            self.fleet.restart(member.name, 0.0)  # all others give back, and take over anew
        else:
            self.fleet.kill(member.name)

    def _wake(self, name: str, seconds: float) -> None:
        self.stopping.wait(seconds)
        member = self.fleet.members.get(name)
        if member is not None:
            member.signal(signal.SIGCONT)

    def _dispatch_step(self, chance: random.Random) -> Step:
        """Any step; those between claim and commit the most often, where a zombie could harm."""
        risky = ("claim", "read", "compose", "emit", "emit/begin", "emit/commit", "fence", "take")
        if self.steps is REQUIRED and chance.random() < 0.5:
            return "dispatch", chance.choice(risky)
        return chance.choice(self.steps)

    def _anyone(self, chance: random.Random) -> Member:
        return chance.choice(list(self.fleet.members.values()))

    def _some(self, chance: random.Random) -> list[Member]:
        members = list(self.fleet.members.values())
        return chance.sample(members, chance.choice((1, 1, 2, len(members))))

    def _proxy(self, member: Member, chance: random.Random) -> Proxy:
        return chance.choice((member.kafka, member.postgres))


def _fork(chance: random.Random) -> random.Random:
    """A source of chance for one fault, so that faults do not disturb each other's."""
    return random.Random(chance.random())  # noqa: S311


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
