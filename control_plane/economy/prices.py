"""Prices and shares: versions with a start time; what an attempt was made under stays frozen on it."""

from sqlmodel import Session, col, select

from control_plane.access import Invalid, audit
from control_plane.economy.money import MOST_PRICE_MICRO_USD_PER_MTOK, WHOLE_BASIS_POINTS, PriceTerms
from control_plane.store import announce
from control_plane.store.economy_tables import Pool, PoolShare, Price
from control_plane.store.tables import ChangeKind

MOST_MODEL_CHARACTERS = 200


def set_price(
    session: Session, *, pool: Pool, model: str, price: PriceTerms, starts_unix_ms: int, actor: str
) -> Price:
    """Of a model (by served name) in a pool from `starts_unix_ms` on. Raises Invalid."""
    if not 1 <= len(model) <= MOST_MODEL_CHARACTERS or not model.isprintable():
        raise Invalid(f"a model's served name has 1 to {MOST_MODEL_CHARACTERS} characters")
    parts = (
        price.input_micro_usd_per_mtok,
        price.output_micro_usd_per_mtok,
        price.cached_input_micro_usd_per_mtok,
    )
    if not all(0 <= part <= MOST_PRICE_MICRO_USD_PER_MTOK for part in parts):
        raise Invalid(f"a price is 0 to {MOST_PRICE_MICRO_USD_PER_MTOK} micro-USD per million tokens")
    if price.cached_input_micro_usd_per_mtok > price.input_micro_usd_per_mtok:
        raise Invalid("cached input costs no more than input")
    row = session.get(Price, (pool.id, model, starts_unix_ms)) or Price(
        pool_id=pool.id,
        model=model,
        starts_unix_ms=starts_unix_ms,
        input_micro_usd_per_mtok=0,
        output_micro_usd_per_mtok=0,
        cached_input_micro_usd_per_mtok=0,
    )
    (
        row.input_micro_usd_per_mtok,
        row.output_micro_usd_per_mtok,
        row.cached_input_micro_usd_per_mtok,
    ) = parts
    session.add(row)
    detail = {"model": model, "micro_usd_per_mtok": parts, "starts_unix_ms": starts_unix_ms}
    audit(session, actor=actor, action="price.set", subject=pool.id, detail=detail)
    announce(session, ChangeKind.ECONOMY, pool.id)
    return row


def list_prices(session: Session, *, pool_id: str | None = None) -> list[Price]:
    """Every version, the newest of each first."""
    query = select(Price).order_by(col(Price.pool_id), col(Price.model), col(Price.starts_unix_ms).desc())
    if pool_id is not None:
        query = query.where(Price.pool_id == pool_id)
    return list(session.exec(query))


def set_share(
    session: Session, *, pool: Pool, share_basis_points: int, starts_unix_ms: int, actor: str
) -> PoolShare:
    """Of what third-party cards earn in a pool. Raises Invalid."""
    if not 0 <= share_basis_points <= WHOLE_BASIS_POINTS:
        raise Invalid(f"a share is 0 to {WHOLE_BASIS_POINTS} basis points")
    row = session.get(PoolShare, (pool.id, starts_unix_ms)) or PoolShare(
        pool_id=pool.id, starts_unix_ms=starts_unix_ms, share_basis_points=0
    )
    row.share_basis_points = share_basis_points
    session.add(row)
    detail = {"basis_points": share_basis_points, "starts_unix_ms": starts_unix_ms}
    audit(session, actor=actor, action="share.set", subject=pool.id, detail=detail)
    announce(session, ChangeKind.ECONOMY, pool.id)
    return row
