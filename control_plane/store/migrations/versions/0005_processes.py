"""processes and pins"""

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
    op.create_table('route_pin',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('tenant_id', sa.String(), nullable=False),
    sa.Column('model', sa.String(), nullable=True),
    sa.Column('purpose', sa.String(), nullable=True),
    sa.Column('tier', sa.String(), nullable=False),
    sa.Column('pool_id', sa.String(), nullable=True),
    sa.Column('agent_id', sa.String(), nullable=True),
    sa.Column('created_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('ended_unix_ms', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['agent_id'], ['agent.id'], ),
    sa.ForeignKeyConstraint(['pool_id'], ['pool.id'], ),
    sa.ForeignKeyConstraint(['tenant_id'], ['tenant.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('route_pin', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_route_pin_tenant_id'), ['tenant_id'], unique=False)
