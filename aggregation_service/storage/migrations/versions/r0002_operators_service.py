"""Many workers, enrolled devices, operators, evaluation, staged releases."""

import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

OPEN_BEFORE = sa.text("phase IN ('selection', 'reporting')")
OPEN_NOW = sa.text("phase IN ('selection', 'reporting', 'closing')")


def upgrade() -> None:
    """Adds what a service for operators needs; the books stay as they are."""
    op.add_column("populations", sa.Column("policy", sa.Text, nullable=False, server_default="{}"))
    _upgrade_tasks()
    _upgrade_checkpoints()
    _upgrade_rounds()
    _upgrade_releases()
    op.add_column("participation", sa.Column("runtime", sa.String(64)))
    _create_sums()
    _create_devices()
    _create_operators()
    _store_uncompressed()


def downgrade() -> None:
    """There is no way back: what the new columns hold would be lost."""
    raise NotImplementedError("revision 0002 cannot be undone; restore a backup")


def _upgrade_tasks() -> None:
    with op.batch_alter_table("tasks") as table:
        table.add_column(sa.Column("kind", sa.String(16), nullable=False, server_default="training"))
        table.add_column(sa.Column("optimizer", sa.Text))
        table.add_column(sa.Column("candidate_version", sa.BigInteger))
        table.add_column(sa.Column("baseline_version", sa.BigInteger))
        table.add_column(sa.Column("ended_at", sa.Float))
        table.add_column(sa.Column("ended_because", sa.String(32)))
    _write_optimizers()
    with op.batch_alter_table("tasks") as table:
        table.alter_column("optimizer", existing_type=sa.Text, nullable=False)
        table.drop_column("server_momentum")
        table.drop_column("server_learning_rate")


def _write_optimizers() -> None:
    """Two columns become one value of JSON, as `rounds.optimizer` reads it."""
    names = ("id", "optimizer", "server_momentum", "server_learning_rate")
    tasks = sa.table("tasks", *(sa.column(name) for name in names))
    connection = op.get_bind()
    for row in connection.execute(sa.select(tasks)).all():
        value = {"kind": "momentum", "learning_rate": row.server_learning_rate, "momentum": row.server_momentum}
        connection.execute(tasks.update().where(tasks.c.id == row.id).values(optimizer=json.dumps(value)))


def _upgrade_checkpoints() -> None:
    with op.batch_alter_table("checkpoints") as table:
        table.alter_column("velocity", new_column_name="optimizer_state", existing_type=sa.LargeBinary)
        table.add_column(_file("checkpoints", "served_sha256"))


def _upgrade_rounds() -> None:
    with op.batch_alter_table("rounds") as table:
        table.add_column(sa.Column("sealing_key", sa.LargeBinary(32)))
        table.add_column(sa.Column("result", sa.Text))
    op.drop_index("one_open_round", "rounds")
    op.create_index(
        "one_open_round", "rounds", ["population"], unique=True, sqlite_where=OPEN_NOW, postgresql_where=OPEN_NOW
    )


def _upgrade_releases() -> None:
    with op.batch_alter_table("releases") as table:
        table.add_column(sa.Column("model_version", sa.BigInteger))
        table.add_column(sa.Column("status", sa.String(16), nullable=False, server_default="released"))
        table.add_column(sa.Column("rollout_percent", sa.Integer, nullable=False, server_default="100"))
        table.add_column(sa.Column("decision", sa.Text))
    _write_versions()
    with op.batch_alter_table("releases") as table:
        table.alter_column("model_version", existing_type=sa.BigInteger, nullable=False)


def _write_versions() -> None:
    """A release's version stood only in its manifest."""
    releases = sa.table("releases", sa.column("id"), sa.column("model_version"), sa.column("manifest"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(releases)).all():
        version = json.loads(bytes(row.manifest))["model_version"]
        connection.execute(releases.update().where(releases.c.id == row.id).values(model_version=version))


def _create_sums() -> None:
    op.create_table(
        "partial_sums",
        sa.Column("round_id", sa.String(32), sa.ForeignKey("rounds.id", name="fk_partial_sums_round_id_rounds")),
        sa.Column("worker_id", sa.String(32)),
        sa.Column("num_updates", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("round_id", "worker_id", name="pk_partial_sums"),
    )
    op.create_table(
        "coordinator",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )


def _create_devices() -> None:
    op.create_table(
        "devices",
        _population("devices"),
        sa.Column("device_id", sa.String(32)),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
        sa.Column("enrolled_by", sa.String(64), nullable=False),
        sa.Column("enrolled_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
        sa.PrimaryKeyConstraint("population", "device_id", name="pk_devices"),
    )
    op.create_table(
        "nonces",
        sa.Column("device_id", sa.String(32)),
        sa.Column("nonce", sa.String(32)),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("device_id", "nonce", name="pk_nonces"),
    )
    op.create_index("ix_nonces_expires_at", "nonces", ["expires_at"])
    op.create_table(
        "enrolment_tokens",
        sa.Column("id", sa.Integer, primary_key=True),
        _population("enrolment_tokens"),
        sa.Column("token_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("uses_left", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String(63), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("token_sha256", name="uq_enrolment_tokens_token_sha256"),
    )


def _create_operators() -> None:
    op.create_table(
        "operators",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("disabled_at", sa.Float),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.String(63), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous_sha256", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )


def _store_uncompressed() -> None:
    """Ciphertext, float32 weights and compressed files: PostgreSQL would try in vain to make them smaller."""
    if op.get_bind().dialect.name == "postgresql":
        for table, column in (("files", "content"), ("checkpoints", "optimizer_state"), ("partial_sums", "sealed")):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def _population(table: str) -> sa.Column[str]:
    key = sa.ForeignKey("populations.name", name=f"fk_{table}_population_populations")
    return sa.Column("population", sa.String(63), key, nullable=False)


def _file(table: str, name: str) -> sa.Column[str]:
    key = sa.ForeignKey("files.sha256", name=f"fk_{table}_{name}_files")
    return sa.Column(name, sa.String(64), key)
