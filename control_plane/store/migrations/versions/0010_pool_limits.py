"""owners' limits on pool work"""

from alembic import op
import sqlalchemy as sa


revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('agent', schema=None) as batch_op:
        batch_op.add_column(sa.Column('pool_hours', sa.Text(), nullable=True))
        batch_op.add_column(sa.Column('pool_zone', sa.String(), nullable=True))
        batch_op.add_column(sa.Column('pool_max_celsius', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('pool_max_watts', sa.Integer(), nullable=True))
