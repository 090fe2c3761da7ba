"""Streams of correlated noise: their states, and who took part in them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Makes both tables, empty: noise was fresh in every round until now."""
    states, taking_part = "noise_states", "stream_participation"
    op.create_table(
        states,
        _task(states),
        sa.Column("part", sa.Integer),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "part", name=f"pk_{states}"),
    )
    if op.get_bind().dialect.name == "postgresql":  # what is sealed cannot be compressed
        op.execute(f"ALTER TABLE {states} ALTER COLUMN sealed SET STORAGE EXTERNAL")
    op.create_table(
        taking_part,
        _task(taking_part),
        sa.Column("device_id", sa.String(32)),
        sa.Column("participations", sa.Integer, nullable=False),
        sa.Column("last_step", sa.Integer, nullable=False),
        sa.Column("least_gap", sa.Integer),
        sa.PrimaryKeyConstraint("task_id", "device_id", name=f"pk_{taking_part}"),
    )


def downgrade() -> None:
    """There is no way back: noise that is still to be taken back would be lost."""
    raise NotImplementedError("revision 0005 cannot be undone; restore a backup")


def _task(table: str) -> sa.Column[int]:
    return sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.id", name=f"fk_{table}_task_id_tasks"))
