"""Clipping that adapts: each round's norm, and that of each task's next round."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Adds both, empty: until now every round had the norm of its task's plan."""
    op.add_column("rounds", sa.Column("l2_clip_norm", sa.Float))
    states = "clipping_states"
    op.create_table(
        states,
        sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.id", name=f"fk_{states}_task_id_tasks")),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=f"pk_{states}"),
    )


def downgrade() -> None:
    """There is no way back: which norm a round had would be lost."""
    raise NotImplementedError("revision 0006 cannot be undone; restore a backup")
