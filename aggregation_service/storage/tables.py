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

ONE_OPEN_ROUND = text("phase IN ('selection', 'reporting')")


def _population(*, primary_key: bool = False) -> Column[str]:
    return Column("population", String(63), ForeignKey("populations.name"), nullable=False, primary_key=primary_key)


def _file(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(64), ForeignKey("files.sha256"), nullable=nullable)


populations = Table(
    "populations",
    metadata,
    Column("name", String(63), primary_key=True),
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

# Rows never change: a round's parameters are frozen by naming its task.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    _file("plan_sha256"),
    _file("training_graph_sha256"),
    _file("vocabulary_sha256", nullable=True),
    Column("parameters", Text, nullable=False),
    Column("server_momentum", Float, nullable=False),
    Column("server_learning_rate", Float, nullable=False),
    Column("created_at", Float, nullable=False),
)

# The optimiser's velocity is kept with the newest version only.
checkpoints = Table(
    "checkpoints",
    metadata,
    _population(primary_key=True),
    Column("model_version", BigInteger, primary_key=True, autoincrement=False),
    _file("file_sha256"),
    Column("velocity", LargeBinary),
    Column("created_at", Float, nullable=False),
)

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

# What minimum separation and the worst device's privacy are computed from.
participation = Table(
    "participation",
    metadata,
    _population(primary_key=True),
    Column("device_id", String(32), primary_key=True),
    Column("last_seen_at", Float, nullable=False),
    Column("last_selected_at", Float),
    Column("reported", Integer, nullable=False),
)

# Append-only.
ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
    Column("event", Text, nullable=False),
    Column("recorded_at", Float, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    _population(),
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
