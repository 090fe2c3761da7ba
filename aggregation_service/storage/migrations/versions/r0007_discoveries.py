"""Discoveries of new words: what each level votes on, and the words that came out."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Makes both tables, empty: until now nobody asked for words."""
    levels, words = "discovery_levels", "discovered_words"
    op.create_table(
        levels,
        sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.id", name=f"fk_{levels}_task_id_tasks")),
        sa.Column(
            "candidates_sha256",
            sa.String(64),
            sa.ForeignKey("files.sha256", name=f"fk_{levels}_candidates_sha256_files"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("task_id", name=f"pk_{levels}"),
    )
    op.create_table(
        words,
        sa.Column("id", sa.Integer),
        sa.Column(
            "population",
            sa.String(63),
            sa.ForeignKey("populations.name", name=f"fk_{words}_population_populations"),
            nullable=False,
        ),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("tasks.id", name=f"fk_{words}_task_id_tasks"), nullable=False),
        sa.Column("word", sa.Text, nullable=False),
        sa.Column("devices", sa.Float, nullable=False),
        sa.Column("status", sa.String(16), nullable=False, server_default="found"),
        sa.Column("found_at", sa.Float, nullable=False),
        sa.Column("decided_at", sa.Float),
        sa.Column("decided_by", sa.String(63)),
        sa.PrimaryKeyConstraint("id", name=f"pk_{words}"),
        sa.UniqueConstraint("task_id", "word", name=f"uq_{words}_task_id"),
    )


def downgrade() -> None:
    """There is no way back: words that were paid for would be lost."""
    raise NotImplementedError("revision 0007 cannot be undone; restore a backup")
