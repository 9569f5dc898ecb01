"""load tests"""

from alembic import op
import sqlalchemy as sa


revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('api_key', schema=None) as batch_op:
        batch_op.add_column(sa.Column('expires_unix_ms', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('only_agent_id', sa.String(), nullable=True))

    op.create_table('load_test',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('tenant_id', sa.String(), nullable=False),
    sa.Column('agent_id', sa.String(), nullable=False),
    sa.Column('model_id', sa.String(), nullable=False),
    sa.Column('api_key_id', sa.String(), nullable=False),
    sa.Column('actor', sa.String(), nullable=False),
    sa.Column('sweep', sa.Text(), nullable=False),
    sa.Column('started_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('lease_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('cancelled_unix_ms', sa.BigInteger(), nullable=True),
    sa.Column('ended_unix_ms', sa.BigInteger(), nullable=True),
    sa.Column('error', sa.String(), nullable=True),
    sa.Column('knee_concurrency', sa.Integer(), nullable=True),
    sa.ForeignKeyConstraint(['agent_id'], ['agent.id'], ),
    sa.ForeignKeyConstraint(['api_key_id'], ['api_key.id'], ),
    sa.ForeignKeyConstraint(['tenant_id'], ['tenant.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('load_test', schema=None) as batch_op:
        batch_op.create_index('load_test_by_agent', ['agent_id', 'started_unix_ms'], unique=False)

    op.create_table('load_test_step',
    sa.Column('load_test_id', sa.String(), nullable=False),
    sa.Column('concurrency', sa.Integer(), nullable=False),
    sa.Column('completed', sa.Integer(), nullable=False),
    sa.Column('failed', sa.Integer(), nullable=False),
    sa.Column('error', sa.String(), nullable=True),
    sa.Column('duration_s', sa.Float(), nullable=False),
    sa.Column('requests_per_s', sa.Float(), nullable=False),
    sa.Column('output_tokens_per_s', sa.Float(), nullable=False),
    sa.Column('ttft_p50_ms', sa.Float(), nullable=False),
    sa.Column('ttft_p90_ms', sa.Float(), nullable=False),
    sa.Column('ttft_p99_ms', sa.Float(), nullable=False),
    sa.Column('itl_p50_ms', sa.Float(), nullable=False),
    sa.Column('itl_p90_ms', sa.Float(), nullable=False),
    sa.Column('itl_p99_ms', sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(['load_test_id'], ['load_test.id'], ),
    sa.PrimaryKeyConstraint('load_test_id', 'concurrency')
    )
    op.create_table('queue_limit',
    sa.Column('agent_id', sa.String(), nullable=False),
    sa.Column('model_id', sa.String(), nullable=False),
    sa.Column('concurrency', sa.Integer(), nullable=False),
    sa.Column('load_test_id', sa.String(), nullable=False),
    sa.Column('set_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('cleared_unix_ms', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['agent_id'], ['agent.id'], ),
    sa.ForeignKeyConstraint(['load_test_id'], ['load_test.id'], ),
    sa.PrimaryKeyConstraint('agent_id')
    )
