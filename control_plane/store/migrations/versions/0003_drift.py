"""drift"""

from alembic import op
import sqlalchemy as sa


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('provider_flag',
    sa.Column('agent_id', sa.String(), nullable=False),
    sa.Column('since_unix_ms', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('tenant_id', sa.String(), nullable=False),
    sa.Column('measure', sa.String(), nullable=False),
    sa.Column('calls', sa.Integer(), nullable=False),
    sa.Column('claimed_tokens', sa.BigInteger(), nullable=False),
    sa.Column('counted_tokens', sa.BigInteger(), nullable=False),
    sa.Column('cleared_unix_ms', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['agent_id'], ['agent.id'], ),
    sa.ForeignKeyConstraint(['tenant_id'], ['tenant.id'], ),
    sa.PrimaryKeyConstraint('agent_id', 'since_unix_ms')
    )
    with op.batch_alter_table('provider_flag', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_provider_flag_tenant_id'), ['tenant_id'], unique=False)
        batch_op.create_index('provider_flag_open', ['agent_id'], unique=True, sqlite_where=sa.text('cleared_unix_ms IS NULL'), postgresql_where=sa.text('cleared_unix_ms IS NULL'))
