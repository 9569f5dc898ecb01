"""processes"""

from alembic import op
import sqlalchemy as sa


revision = '0005'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('process',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('started_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('seen_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('ended_unix_ms', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
