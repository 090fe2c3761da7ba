"""Partial sums in rows of about a megabyte; devices are found by their key; groups of secure aggregation."""

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
    op.create_index("devices_by_key", "devices", ["population", "public_key"])
    _create_groups()
    _create_members()
    _create_masked_sums()


def _create_groups() -> None:
    op.create_table(
        "secure_groups",
        sa.Column("id", sa.String(32)),
        sa.Column(
            "round_id",
            sa.String(32),
            sa.ForeignKey("rounds.id", name="fk_secure_groups_round_id_rounds"),
            nullable=False,
        ),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("ends_at", sa.Float, nullable=False),
        *(sa.Column(name, sa.LargeBinary) for name in ("content", "sharers", "survivors", "revealers")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("awaited", "answered", "members")),
        *(sa.Column(name, sa.Integer) for name in ("shared", "masked", "confirmed", "unmasked")),
        sa.Column("failed_because", sa.String(32)),
        sa.Column("detail", sa.Text),
        sa.Column("formed_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_secure_groups"),
    )
    op.create_index("ix_secure_groups_round_id", "secure_groups", ["round_id"])


def _create_members() -> None:
    member, message = "secure_members", "secure_messages"
    op.create_table(
        member,
        sa.Column(
            "assignment_id",
            sa.String(32),
            sa.ForeignKey("assignments.id", name=f"fk_{member}_assignment_id_assignments"),
        ),
        sa.Column(
            "round_id", sa.String(32), sa.ForeignKey("rounds.id", name=f"fk_{member}_round_id_rounds"), nullable=False
        ),
        sa.Column("advertised_at", sa.Float, nullable=False),
        sa.Column(
            "group_id", sa.String(32), sa.ForeignKey("secure_groups.id", name=f"fk_{member}_group_id_secure_groups")
        ),
        sa.Column("place", sa.Integer),
        sa.PrimaryKeyConstraint("assignment_id", name=f"pk_{member}"),
    )
    for column in ("round_id", "group_id"):
        op.create_index(f"ix_{member}_{column}", member, [column])
    owner = sa.ForeignKey("secure_members.assignment_id", name=f"fk_{message}_assignment_id_secure_members")
    op.create_table(
        message,
        sa.Column("assignment_id", sa.String(32), owner),
        sa.Column("stage", sa.String(16)),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.PrimaryKeyConstraint("assignment_id", "stage", name=f"pk_{message}"),
    )


def _create_masked_sums() -> None:
    group = sa.ForeignKey("secure_groups.id", name="fk_masked_sums_group_id_secure_groups")
    op.create_table(
        "masked_sums",
        sa.Column("group_id", sa.String(32), group),
        sa.Column("worker_id", sa.String(32)),
        sa.Column("part", sa.Integer),
        sa.Column("members", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "worker_id", "part", name="pk_masked_sums"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE masked_sums ALTER COLUMN sealed SET STORAGE EXTERNAL")


def downgrade() -> None:
    """There is no way back, as from the revision before."""
    raise NotImplementedError("revision 0003 cannot be undone; restore a backup")
