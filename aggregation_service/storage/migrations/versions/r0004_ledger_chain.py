"""Each row of the ledger holds the hash of the one before."""

import hashlib
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Chains the rows that are there in the order in which they came: what is changed from now on is found."""
    with op.batch_alter_table("ledger") as table:
        table.add_column(sa.Column("previous_sha256", sa.String(64)))
        table.add_column(sa.Column("sha256", sa.String(64)))
    _write_hashes()
    with op.batch_alter_table("ledger") as table:
        for name in ("previous_sha256", "sha256"):
            table.alter_column(name, existing_type=sa.String(64), nullable=False)


def downgrade() -> None:
    """There is no way back: what the new columns hold would be lost."""
    raise NotImplementedError("revision 0004 cannot be undone; restore a backup")


def _write_hashes() -> None:
    names = ("id", "population", "event", "recorded_at", "previous_sha256", "sha256")
    ledger = sa.table("ledger", *(sa.column(name) for name in names))
    connection = op.get_bind()
    previous = "0" * 64
    for row in connection.execute(sa.select(ledger).order_by(ledger.c.id)).all():
        sealed = msgspec.json.encode([row.population, row.event, row.recorded_at, previous])
        sha256 = hashlib.sha256(sealed).hexdigest()
        hashes = {"previous_sha256": previous, "sha256": sha256}
        connection.execute(ledger.update().where(ledger.c.id == row.id).values(hashes))
        previous = sha256
