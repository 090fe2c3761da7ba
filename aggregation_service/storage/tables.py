"""The tables. A change here needs a migration beside it; a test compares the two.

Times are seconds since 1970 in float64, as the service's clock gives them. Ids are those of the protocol.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ONE_OPEN_ROUND = text("phase IN ('selection', 'reporting', 'closing')")


def _population(*, primary_key: bool = False) -> Column[str]:
    return Column("population", String(63), ForeignKey("populations.name"), nullable=False, primary_key=primary_key)


def _file(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(64), ForeignKey("files.sha256"), nullable=nullable)


def _task() -> Column[int]:
    return Column("task_id", Integer, ForeignKey("tasks.id"), primary_key=True, autoincrement=False)


populations = Table(
    "populations",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("policy", Text, nullable=False, server_default="{}"),
    Column("created_at", Float, nullable=False),
)

# Content by its hash: whoever knows the hash may read it, so nothing secret belongs here.
files = Table(
    "files",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

# Only `ended_*` ever changes: a round's parameters are frozen by naming its task.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    Column("kind", String(16), nullable=False, server_default="training"),
    _file("plan_sha256"),
    _file("training_graph_sha256"),
    _file("vocabulary_sha256", nullable=True),
    Column("parameters", Text, nullable=False),
    Column("optimizer", Text, nullable=False),
    Column("candidate_version", BigInteger),
    Column("baseline_version", BigInteger),
    Column("ended_at", Float),
    Column("ended_because", String(32)),
    Column("created_at", Float, nullable=False),
)

# `file_sha256` is the exact float32 checkpoint, `served_sha256` what devices download. The optimiser's state is kept
# with the newest version only.
checkpoints = Table(
    "checkpoints",
    metadata,
    _population(primary_key=True),
    Column("model_version", BigInteger, primary_key=True, autoincrement=False),
    _file("file_sha256"),
    _file("served_sha256", nullable=True),
    Column("optimizer_state", LargeBinary),
    Column("created_at", Float, nullable=False),
)

# `l2_clip_norm` is NULL where clipping does not adapt: then the plan of the round's task says it.
rounds = Table(
    "rounds",
    metadata,
    Column("id", String(32), primary_key=True),
    _population(),
    Column("number", Integer, nullable=False),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("model_version", BigInteger, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("abandoned_because", String(32)),
    Column("opened_at", Float, nullable=False),
    Column("deadline_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("selected", Integer, nullable=False),
    Column("reported", Integer, nullable=False),
    Column("shortened", Integer, nullable=False),
    Column("bytes_up", BigInteger, nullable=False),
    Column("max_participations", Integer, nullable=False),
    Column("sealing_key", LargeBinary(32)),
    Column("result", Text),
    Column("l2_clip_norm", Float),
    UniqueConstraint("population", "number"),
    Index("one_open_round", "population", unique=True, sqlite_where=ONE_OPEN_ROUND, postgresql_where=ONE_OPEN_ROUND),
)

# A token is kept as its SHA-256: who reads the database cannot report for a device.
assignments = Table(
    "assignments",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("round_id", String(32), ForeignKey("rounds.id"), nullable=False),
    Column("device_id", String(32), nullable=False),
    Column("token_sha256", LargeBinary(32), nullable=False),
    Column("reported", Boolean, nullable=False),
    Column("assigned_at", Float, nullable=False),
    UniqueConstraint("round_id", "device_id"),
)

# Sums of what one worker process accepted in a round, sealed to the round's key, which is in no table.
partial_sums = Table(
    "partial_sums",
    metadata,
    Column("round_id", String(32), ForeignKey("rounds.id"), primary_key=True),
    Column("worker_id", String(32), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("num_updates", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# Groups of secure aggregation, and where each stands. `content` is its roster, with all keys.
secure_groups = Table(
    "secure_groups",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("round_id", String(32), ForeignKey("rounds.id"), nullable=False, index=True),
    Column("stage", String(16), nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("content", LargeBinary),
    Column("sharers", LargeBinary),
    Column("survivors", LargeBinary),
    Column("revealers", LargeBinary),
    Column("awaited", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("members", Integer, nullable=False),
    Column("shared", Integer),
    Column("masked", Integer),
    Column("confirmed", Integer),
    Column("unmasked", Integer),
    Column("failed_because", String(32)),
    Column("detail", Text),
    Column("formed_at", Float, nullable=False),
    Column("ended_at", Float),
)

# Devices that advertised keys in a round; `place` is their index in their group's roster.
secure_members = Table(
    "secure_members",
    metadata,
    Column("assignment_id", String(32), ForeignKey("assignments.id"), primary_key=True),
    Column("round_id", String(32), ForeignKey("rounds.id"), nullable=False, index=True),
    Column("advertised_at", Float, nullable=False),
    Column("group_id", String(32), ForeignKey("secure_groups.id"), index=True),
    Column("place", Integer),
)

# What they sent, by the stage; `content` is what later stages need of it. A group's end leaves the last stage's rows,
# without content, so that who sends it again learns that it came.
secure_messages = Table(
    "secure_messages",
    metadata,
    Column("assignment_id", String(32), ForeignKey("secure_members.assignment_id"), primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("content", LargeBinary),
)

# Sums of the masked inputs that one worker process accepted of a group, sealed to the round's key.
masked_sums = Table(
    "masked_sums",
    metadata,
    Column("group_id", String(32), ForeignKey("secure_groups.id"), primary_key=True),
    Column("worker_id", String(32), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("members", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# One row: who coordinates. A coordinator that finds another epoch than its own was deposed, and stops.
coordinator = Table(
    "coordinator",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String(128), nullable=False),
    Column("since", Float, nullable=False),
)

# Whom the population's devices are, by the key that signs their requests.
devices = Table(
    "devices",
    metadata,
    _population(primary_key=True),
    Column("device_id", String(32), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("enrolled_by", String(64), nullable=False),
    Column("enrolled_at", Float, nullable=False),
    Column("revoked_at", Float),
    Index("devices_by_key", "population", "public_key"),
)

# Signed requests that were served already; a row may go once its time has left the replay window.
nonces = Table(
    "nonces",
    metadata,
    Column("device_id", String(32), primary_key=True),
    Column("nonce", String(32), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)

# Rights to enrol, each kept as its SHA-256.
enrolment_tokens = Table(
    "enrolment_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    Column("token_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("uses_left", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("created_by", String(63), nullable=False),
    Column("created_at", Float, nullable=False),
)

operators = Table(
    "operators",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),
)

# Append-only; each row holds the SHA-256 of the one before, so that none can be changed or left out unnoticed.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("actor", String(63), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("details", Text, nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
)

# What minimum separation and the worst device's privacy are computed from.
participation = Table(
    "participation",
    metadata,
    _population(primary_key=True),
    Column("device_id", String(32), primary_key=True),
    Column("last_seen_at", Float, nullable=False),
    Column("last_selected_at", Float),
    Column("reported", Integer, nullable=False),
    Column("runtime", String(64)),
)

# A task's stream of correlated noise, sealed to the service, in parts; `step` is the number of its next step.
noise_states = Table(
    "noise_states",
    metadata,
    _task(),
    Column("part", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# Whose reports are in the sums of a task's stream, since it began; `least_gap` is in steps, none before the second.
stream_participation = Table(
    "stream_participation",
    metadata,
    _task(),
    Column("device_id", String(32), primary_key=True),
    Column("participations", Integer, nullable=False),
    Column("last_step", Integer, nullable=False),
    Column("least_gap", Integer),
)

# The clipping norm of a task's next round, where it adapts; a round that was made says its own in `rounds`.
clipping_states = Table("clipping_states", metadata, _task(), Column("state", Text, nullable=False))

# What each level of a discovery votes on; a level is a task of its own.
discovery_levels = Table("discovery_levels", metadata, _task(), _file("candidates_sha256"))

# Words that came out of discoveries, to be reviewed; `devices` is the noised count.
discovered_words = Table(
    "discovered_words",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    Column("task_id", Integer, ForeignKey("tasks.id"), nullable=False),
    Column("word", Text, nullable=False),
    Column("devices", Float, nullable=False),
    Column("status", String(16), nullable=False, server_default="found"),
    Column("found_at", Float, nullable=False),
    Column("decided_at", Float),
    Column("decided_by", String(63)),
    UniqueConstraint("task_id", "word"),
)

# Append-only; each row holds the SHA-256 of the one before, whichever population that was of.
ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    Column("event", Text, nullable=False),
    Column("recorded_at", Float, nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    Column("model_version", BigInteger, nullable=False),
    Column("status", String(16), nullable=False, server_default="released"),
    Column("rollout_percent", Integer, nullable=False, server_default="100"),
    Column("decision", Text),
    Column("manifest", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

# Without foreign key: refusals of requests that named no known population are counted under "".
refusals = Table(
    "refusals",
    metadata,
    Column("population", String(63), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
)
