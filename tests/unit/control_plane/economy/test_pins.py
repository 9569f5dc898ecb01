"""Pins: which one a call obeys, and which cannot be made."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import Session

from control_plane.access import Duplicate, Invalid
from control_plane.economy import NewPin, Pin, add_pin, end_pin, list_pins, pin_for
from control_plane.store import Store
from control_plane.store.economy_tables import Pool
from control_plane.store.tables import Agent, Purpose, Tenant, Tier
from tests.support.economy import CONSUMER, POOL, add_economy

OF_MODEL = Pin("tiny", None, Tier.OWN)
OF_PURPOSE = Pin(None, Purpose.CODING, Tier.POOL)
OF_BOTH = Pin("tiny", Purpose.CODING, Tier.POOL)


def test_the_pin_that_says_most_about_a_call_is_obeyed() -> None:
    pins = (OF_PURPOSE, OF_MODEL, OF_BOTH)
    assert pin_for(pins, "tiny", Purpose.CODING) is OF_BOTH
    assert pin_for(pins, "tiny", Purpose.GENERAL) is OF_MODEL
    assert pin_for(pins, "other", Purpose.CODING) is OF_PURPOSE
    assert pin_for(pins, "other", Purpose.GENERAL) is None
    assert pin_for((OF_PURPOSE, OF_MODEL), "tiny", Purpose.CODING) is OF_MODEL


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    store.migrate()
    store.write_now(add_economy)
    with store.reading() as session:
        yield session
    store.close()


def _new(session: Session) -> NewPin:
    return NewPin(session.get_one(Tenant, CONSUMER), "tiny", None, Tier.POOL)


def test_a_pin_holds_until_it_is_ended_and_may_then_be_made_anew(session: Session) -> None:
    row = add_pin(session, _new(session), actor="test")
    session.flush()
    with pytest.raises(Duplicate, match="end that first"):
        add_pin(session, _new(session), actor="test")
    assert [each.id for each in list_pins(session, tenant_id=CONSUMER)] == [row.id]
    end_pin(session, pin_id=row.id, actor="test")
    session.flush()
    assert list_pins(session) == []
    add_pin(session, _new(session), actor="test")


def test_pins_that_mean_nothing_are_refused_with_the_reason(session: Session) -> None:
    new = _new(session)
    lent, own = session.get_one(Agent, "agt-provider"), session.get_one(Agent, "agt-consumer")
    pool = session.get_one(Pool, POOL)
    for pin, words in [
        (replace(new, model=None), "name one"),
        (replace(new, model="x" * 200), "1 to 128 characters"),
        (replace(new, tier=Tier.OWN, pool=pool), "names a pool"),
        (replace(new, tier=Tier.EXTERNAL, agent=lent), "names no agent"),
        (replace(new, tier=Tier.OWN, agent=lent), "cannot serve this tenant"),
        (replace(new, tier=Tier.POOL, agent=own), "cannot serve this tenant"),
        (replace(new, tier=Tier.EXTERNAL, purpose=Purpose.CODING), "never go to a vendor"),
    ]:
        with pytest.raises(Invalid, match=words):
            add_pin(session, pin, actor="test")
