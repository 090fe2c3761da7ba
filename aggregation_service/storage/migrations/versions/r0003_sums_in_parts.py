"""Partial sums in rows of about a megabyte."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Makes the table anew: its rows could be opened only by a coordinator, which stops before a migration."""
    op.drop_table("partial_sums")
    op.create_table(
        "partial_sums",
        sa.Column("round_id", sa.String(32), sa.ForeignKey("rounds.id", name="fk_partial_sums_round_id_rounds")),
        sa.Column("worker_id", sa.String(32)),
        sa.Column("part", sa.Integer),
        sa.Column("num_updates", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("round_id", "worker_id", "part", name="pk_partial_sums"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE partial_sums ALTER COLUMN sealed SET STORAGE EXTERNAL")


def downgrade() -> None:
    """There is no way back, as from the revision before."""
    raise NotImplementedError("revision 0003 cannot be undone; restore a backup")
