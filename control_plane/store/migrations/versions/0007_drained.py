"""agents drained, and paused for pools"""

from alembic import op
import sqlalchemy as sa


revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('agent', schema=None) as batch_op:
        batch_op.add_column(sa.Column('drained', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column('pool_paused', sa.Boolean(), nullable=False, server_default=sa.false()))
