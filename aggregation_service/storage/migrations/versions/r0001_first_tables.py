"""The first tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ONE_OPEN_ROUND = sa.text("phase IN ('selection', 'reporting')")


def upgrade() -> None:
    """Creates all tables."""
    _create_models()
    _create_rounds()
    _create_books()


def downgrade() -> None:
    """Drops all tables."""
    for name in ("refusals", "releases", "ledger", "participation", "assignments", "rounds", "checkpoints", "tasks"):
        op.drop_table(name)
    op.drop_table("files")
    op.drop_table("populations")


def _population(table: str, *, primary_key: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("populations.name", name=f"fk_{table}_population_populations")
    return sa.Column("population", sa.String(63), key, nullable=False, primary_key=primary_key)


def _file(table: str, name: str, *, nullable: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("files.sha256", name=f"fk_{table}_{name}_files")
    return sa.Column(name, sa.String(64), key, nullable=nullable)


def _create_models() -> None:
    op.create_table(
        "populations",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "files",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer, primary_key=True),
        _population("tasks"),
        _file("tasks", "plan_sha256"),
        _file("tasks", "training_graph_sha256"),
        _file("tasks", "vocabulary_sha256", nullable=True),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("server_momentum", sa.Float, nullable=False),
        sa.Column("server_learning_rate", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "checkpoints",
        _population("checkpoints", primary_key=True),
        sa.Column("model_version", sa.BigInteger, primary_key=True, autoincrement=False),
        _file("checkpoints", "file_sha256"),
        sa.Column("velocity", sa.LargeBinary),
        sa.Column("created_at", sa.Float, nullable=False),
    )


def _create_rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("id", sa.String(32), primary_key=True),
        _population("rounds"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.id", name="fk_rounds_task_id_tasks"), nullable=False),
        sa.Column("model_version", sa.BigInteger, nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("abandoned_because", sa.String(32)),
        sa.Column("opened_at", sa.Float, nullable=False),
        sa.Column("deadline_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("selected", sa.Integer, nullable=False),
        sa.Column("reported", sa.Integer, nullable=False),
        sa.Column("shortened", sa.Integer, nullable=False),
        sa.Column("bytes_up", sa.BigInteger, nullable=False),
        sa.Column("max_participations", sa.Integer, nullable=False),
        sa.UniqueConstraint("population", "number", name="uq_rounds_population"),
    )
    op.create_index(
        "one_open_round",
        "rounds",
        ["population"],
        unique=True,
        sqlite_where=ONE_OPEN_ROUND,
        postgresql_where=ONE_OPEN_ROUND,
    )
    op.create_table(
        "assignments",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column(
            "round_id", sa.String(32), sa.ForeignKey("rounds.id", name="fk_assignments_round_id_rounds"), nullable=False
        ),
        sa.Column("device_id", sa.String(32), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("reported", sa.Boolean, nullable=False),
        sa.Column("assigned_at", sa.Float, nullable=False),
        sa.UniqueConstraint("round_id", "device_id", name="uq_assignments_round_id"),
    )


def _create_books() -> None:
    op.create_table(
        "participation",
        _population("participation", primary_key=True),
        sa.Column("device_id", sa.String(32), primary_key=True),
        sa.Column("last_seen_at", sa.Float, nullable=False),
        sa.Column("last_selected_at", sa.Float),
        sa.Column("reported", sa.Integer, nullable=False),
    )
    op.create_table(
        "ledger",
        sa.Column("id", sa.Integer, primary_key=True),
        _population("ledger"),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.Float, nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer, primary_key=True),
        _population("releases"),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "refusals",
        sa.Column("population", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
