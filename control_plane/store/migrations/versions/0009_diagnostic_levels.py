"""diagnostic levels"""

from alembic import op
import sqlalchemy as sa


revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('diagnostic_run', schema=None) as batch_op:
        batch_op.add_column(sa.Column('kind', sa.String(), server_default='host', nullable=False))
        batch_op.add_column(sa.Column('lease_unix_ms', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('cancelled_unix_ms', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('took_calls', sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column('took_model_id', sa.String(), nullable=True))
        batch_op.add_column(sa.Column('took_model_unix_ms', sa.BigInteger(), nullable=True))
