"""The named steps of SAEC's protocols, and which function each one is.

The launcher patches these functions in the processes; SAEC itself knows nothing of it. A base step
is a function of its own; an inner one happens inside of a base step and is named after it:
`emit/commit`. Invariant: every target exists (a test looks), every required step is hit in CI.
"""

# base step -> "module:attribute", by role
BASE: dict[str, dict[str, str]] = {
    "dispatch": {
        "look": "saec.dispatch.takeover:Takeover._look",
        "fence": "saec.dispatch.takeover:fence",
        "take": "saec.store.shards:compare_and_set",
        "wait settled": "saec.dispatch.takeover:Takeover._settled",
        "sentinels": "saec.dispatch.takeover:Takeover._write_sentinels",
        "read ledger": "saec.kafka.ledger:Ledger.read",
        "settle": "saec.dispatch.takeover:Takeover._settle",
        "claim": "saec.dispatch.round:claim_due",
        "apply": "saec.dispatch.claim:_delete",
        "read": "saec.dispatch.round:read_claimed",
        "compose": "saec.dispatch.round:compose",
        "emit": "saec.dispatch.round:emit",
        "release": "saec.store.shards:release",
    },
    "requests": {
        "start": "saec.kafka.intake:Intake._starts",
        "read batch": "saec.kafka.intake:Intake.read",
        "store": "saec.ingest.requests:RequestIntake._store",
        "cancel": "saec.ingest.requests:decide_cancels",
        "answer": "saec.kafka.intake:Intake.answer",
        "go back": "saec.kafka.intake:Intake.rewind",
    },
    "customers": {
        "start": "saec.kafka.intake:Intake._starts",
        "read batch": "saec.kafka.intake:Intake.read",
        "register": "saec.ingest.customers:register",
        "answer": "saec.kafka.intake:Intake.answer",
        "go back": "saec.kafka.intake:Intake.rewind",
    },
}

# inner step -> "module:attribute"; in every role
INNER: dict[str, str] = {
    "begin": "saec.kafka.transaction:TransactionalProducer.begin",
    "write ledger": "saec.dispatch.emit:write_ledger",
    "confirm claim": "saec.dispatch.round:confirm",
    "confirm stored": "saec.ingest.positions:StoredPositions.confirm",
    "offsets": "saec.kafka.transaction:TransactionalProducer.send_offsets",
    "commit": "saec.kafka.transaction:TransactionalProducer.commit",
    "store commit": "saec.store.engine:_commit",
}

# inner steps that belong to the protocol: (role, name)
_INSIDE = {
    "dispatch": (
        "take/store commit",
        "sentinels/begin",
        "sentinels/commit",
        "settle/store commit",
        "claim/store commit",
        "apply/store commit",
        "emit/begin",
        "emit/write ledger",
        "emit/confirm claim",
        "emit/commit",
        "release/store commit",
    ),
    "requests": (
        "store/store commit",
        "cancel/store commit",
        "answer/begin",
        "answer/offsets",
        "answer/confirm stored",
        "answer/commit",
    ),
    "customers": (
        "register/store commit",
        "answer/begin",
        "answer/offsets",
        "answer/confirm stored",
        "answer/commit",
    ),
}

REQUIRED: tuple[tuple[str, str], ...] = tuple(
    (role, name) for role, bases in BASE.items() for name in (*bases, *_INSIDE[role])
)

COMMITS = tuple(step for step in REQUIRED if step[1].endswith("commit"))
STORE_COMMITS = tuple(step for step in COMMITS if step[1].endswith("store commit"))
KAFKA_COMMITS = tuple(step for step in COMMITS if step not in STORE_COMMITS)

MODULES = {
    "requests": "consumers.requests",
    "customers": "consumers.customers",
    "dispatch": "producers.dispatch",
}
