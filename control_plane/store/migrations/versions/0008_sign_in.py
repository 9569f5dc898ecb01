"""passwords and sessions of the console"""

from alembic import op
import sqlalchemy as sa


revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('user_account', schema=None) as batch_op:
        batch_op.add_column(sa.Column('password_hash', sa.String(), nullable=True))
        batch_op.add_column(sa.Column('link_sha256', sa.LargeBinary(length=32), nullable=True))
        batch_op.add_column(sa.Column('link_expires_unix_ms', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('removed_unix_ms', sa.BigInteger(), nullable=True))
        batch_op.create_unique_constraint('user_account_link', ['link_sha256'])
        batch_op.create_index(
            'user_account_signs_in',
            ['email'],
            unique=True,
            sqlite_where=sa.text('password_hash IS NOT NULL'),
            postgresql_where=sa.text('password_hash IS NOT NULL'),
        )
    op.create_table('web_session',
    sa.Column('secret_sha256', sa.LargeBinary(length=32), nullable=False),
    sa.Column('user_id', sa.String(), nullable=True),
    sa.Column('operator_tag', sa.LargeBinary(length=32), nullable=True),
    sa.Column('created_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('expires_unix_ms', sa.BigInteger(), nullable=False),
    sa.Column('ended_unix_ms', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['user_account.id'], ),
    sa.PrimaryKeyConstraint('secret_sha256')
    )
    with op.batch_alter_table('web_session', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_web_session_user_id'), ['user_id'], unique=False)
