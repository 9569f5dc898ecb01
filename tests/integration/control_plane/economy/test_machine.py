"""Whatever happens to calls in whatever order, every invariant of the money holds after each step."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import text
from sqlmodel import Session, select

from control_plane.access import Duplicate, Invalid, Unknown
from control_plane.economy import (
    Ending,
    Held,
    NothingHeld,
    Settled,
    SettleFacts,
    TakenBack,
    Tokens,
    Voided,
    checkpoint,
    clear_flag,
    credits_of_cards,
    mark_paid,
    reap_holds,
    reverse,
    settle,
    settle_all,
    statements,
    verify,
    void,
)
from control_plane.store import Store
from control_plane.store.economy_tables import Measure, ProviderFlag, UsageRecord
from control_plane.store.tables import Agent, Receipt
from tests.support.economy import (
    CARDS,
    CONSUMER,
    FREE,
    INVOICED,
    NOVEMBER_MS,
    Dispatch,
    add_economy,
    at_vendor,
    dispatch_all,
    in_pool,
)

_TOKENS = st.builds(Tokens, st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
_MONTH_MS = 30 * 86_400_000


# What calls leave behind, in an order in which it can be deleted.
_TABLES = (
    "provider_flag", "statement_paid", "ledger_entry", "ledger_transaction", "usage_record", "attempt_terms",
    "quota_month", "external_month", "receipt", "attempt", "call", "audit",
)  # fmt: skip


class Books(RuleBasedStateMachine):
    store: Store
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.store.write_now(_empty)
        self.number = 0
        self.now_ms = NOVEMBER_MS
        # What the ledger should come to: per attempt, the charge and credit told when it was settled.
        self.charged: dict[str, tuple[int, int]] = {}
        self.reversed: set[str] = set()
        self.flagged: set[str] = set()

    @rule(
        target=calls,
        plan=st.sampled_from([FREE, INVOICED]),
        card=st.sampled_from(CARDS),
        prompt=st.integers(0, 400),
        max_tokens=st.integers(1, 400),
        choices=st.integers(1, 3),
        shrinkable=st.booleans(),
    )
    def dispatch_to_a_pool(self, plan, card, prompt, max_tokens, choices, shrinkable):  # type: ignore[no-untyped-def]
        self.number += 1
        return self._dispatch(
            in_pool(
                self.number, plan=plan, card=card, prompt_tokens=prompt, max_tokens=max_tokens,
                choices=choices, shrinkable=shrinkable, now_unix_ms=self.now_ms,
            )
        )  # fmt: skip

    @rule(
        target=calls,
        wanted=st.lists(
            st.tuples(
                st.sampled_from([FREE, INVOICED]), st.sampled_from(CARDS), st.integers(0, 200), st.booleans(),
                st.none() | st.integers(0, 300),
            ),
            min_size=1, max_size=9,
        ),
    )  # fmt: skip
    def dispatch_a_group(self, wanted):  # type: ignore[no-untyped-def]
        group = []
        for plan, card, tokens, shrinkable, cap in wanted:
            self.number += 1
            fields = {"prompt_tokens": tokens, "max_tokens": tokens + 1, "now_unix_ms": self.now_ms}
            group.append(
                in_pool(self.number, plan=plan, card=card, shrinkable=shrinkable, **fields)
                if cap is None
                else at_vendor(self.number, cap_micro_usd=cap, **fields)
            )
        results = self.store.write_now(lambda session: dispatch_all(session, group))
        return multiple(*(each for each, held in zip(group, results, strict=True) if isinstance(held, Held)))

    @rule(
        ends=st.lists(
            st.tuples(
                calls, st.none() | _TOKENS, _TOKENS, st.sampled_from([SettleFacts, Voided, TakenBack])
            ),
            min_size=1, max_size=9,
        )
    )  # fmt: skip
    def a_group_ends(self, ends):  # type: ignore[no-untyped-def]
        endings: list[Ending] = []
        for call, claimed, counted, how in ends:
            if how is Voided:
                endings.append(Voided(call.attempt_id))
            elif how is TakenBack:
                endings.append(TakenBack(call.call_id, call.attempt_id))
            else:
                endings.append(SettleFacts(call.call_id, call.attempt_id, claimed, counted, self.now_ms))
        results = self.store.write_now(lambda session: settle_all(session, endings))
        for ending, settled in zip(endings, results, strict=True):
            if isinstance(ending, SettleFacts):
                self._told(ending.call_id, settled)
        with self.store.reading() as session:
            for ending in endings:
                record = session.get(UsageRecord, ending.call_id) if isinstance(ending, TakenBack) else None
                if record is not None and record.attempt_id == ending.attempt_id:
                    self.reversed.add(record.call_id)

    @rule(target=calls, prompt=st.integers(0, 100), cap=st.integers(0, 300))
    def dispatch_to_a_vendor(self, prompt, cap):  # type: ignore[no-untyped-def]
        self.number += 1
        return self._dispatch(
            at_vendor(self.number, cap_micro_usd=cap, prompt_tokens=prompt, now_unix_ms=self.now_ms)
        )

    @rule(target=calls, call=calls, card=st.sampled_from(CARDS))
    def try_the_call_again(self, call, card):  # type: ignore[no-untyped-def]
        self.number += 1
        of_call = call.number if call.of_call is None else call.of_call
        return self._dispatch(in_pool(self.number, card=card, of_call=of_call, now_unix_ms=self.now_ms))

    @rule(call=calls, tokens=_TOKENS)
    def move_the_checkpoint(self, call, tokens):  # type: ignore[no-untyped-def]
        self.store.write_now(lambda session: checkpoint(session, call.attempt_id, tokens))

    @rule(call=calls, claimed=st.none() | _TOKENS, counted=_TOKENS)
    def settle_perhaps_again(self, call, claimed, counted):  # type: ignore[no-untyped-def]
        facts = SettleFacts(call.call_id, call.attempt_id, claimed, counted, self.now_ms)
        try:
            self._told(call.call_id, self.store.write_now(lambda session: settle(session, facts)))
        except NothingHeld:
            self._told(call.call_id, None)

    @rule(call=calls)
    def void_it(self, call):  # type: ignore[no-untyped-def]
        self.store.write_now(lambda session: void(session, call.attempt_id))

    @rule(call=consumes(calls), tokens=_TOKENS)
    def a_receipt_comes(self, call, tokens):  # type: ignore[no-untyped-def]
        agent = call.place.card.agent_id if hasattr(call.place, "card") else CARDS[0].agent_id
        receipt = Receipt(
            agent_id=agent, sequence=call.number, call_id=call.call_id, attempt_id=call.attempt_id,
            served_name="tiny", http_status=200, prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion, accepted_unix_ms=1, first_byte_unix_ms=1,
            ended_unix_ms=1, outcome="complete",
        )  # fmt: skip
        self.store.write_now(lambda session: session.add(receipt))

    @rule(give_up=st.booleans())
    def reap(self, give_up):  # type: ignore[no-untyped-def]
        later = self.now_ms + 1
        self.store.write_now(
            lambda session: reap_holds(
                session,
                now_unix_ms=self.now_ms,
                orphaned_before_unix_ms=later,
                give_up_before_unix_ms=later if give_up else 0,
                limit=5,
            )
        )
        self._learn()

    @rule(call=calls)
    def take_it_back(self, call):  # type: ignore[no-untyped-def]
        try:
            self.store.write_now(lambda session: reverse(session, call.call_id, actor="operator"))
        except (Unknown, Duplicate):
            return
        self.reversed.add(call.call_id)

    @rule()
    def a_month_passes(self) -> None:
        self.now_ms += _MONTH_MS

    @rule(month=st.sampled_from(["2026-11", "2026-12"]))
    def a_statement_is_paid(self, month):  # type: ignore[no-untyped-def]
        try:
            self.store.write_now(
                lambda session: mark_paid(session, CONSUMER, month, actor="operator", now_unix_ms=self.now_ms)
            )
        except (Unknown, Duplicate, Invalid):
            return

    @rule(card=st.sampled_from(CARDS))
    def a_card_is_flagged(self, card):  # type: ignore[no-untyped-def]
        if card.agent_id in self.flagged:
            return
        self.flagged.add(card.agent_id)
        self.now_ms += 1
        flag = ProviderFlag(
            agent_id=card.agent_id, since_unix_ms=self.now_ms, tenant_id=card.tenant_id,
            measure=Measure.COMPLETION, calls=100, claimed_tokens=120, counted_tokens=100,
        )  # fmt: skip
        self.store.write_now(lambda session: session.add(flag))

    @rule(card=st.sampled_from(CARDS))
    def a_flag_is_cleared(self, card):  # type: ignore[no-untyped-def]
        if card.agent_id not in self.flagged:
            return
        self.flagged.remove(card.agent_id)
        self.store.write_now(
            lambda session: clear_flag(
                session, session.get_one(Agent, card.agent_id), actor="operator", now_unix_ms=self.now_ms
            )
        )

    @invariant()
    def the_books_are_in_order(self) -> None:
        with self.store.reading() as session:
            assert verify(session) == []
            kept = [money for call, money in self.charged.items() if call not in self.reversed]
            assert sum(each.charge_pico_usd for each in statements(session)) == sum(c for c, _ in kept)
            earned = sum(
                each.non_payable_pico_usd + each.held_pico_usd + each.payable_pico_usd
                for each in credits_of_cards(session)
            )
            assert earned == sum(credit for _, credit in kept)

    def _dispatch(self, dispatch: Dispatch):  # type: ignore[no-untyped-def]
        held = self.store.write_now(dispatch)
        return dispatch if isinstance(held, Held) else multiple()

    def _told(self, call_id: str, settled: Settled | None) -> None:
        if settled is None:
            assert call_id not in self.charged
            return
        money = (settled.charge_pico_usd, settled.credit_pico_usd)
        assert settled.first == (call_id not in self.charged)
        assert self.charged.setdefault(call_id, money) == money

    def _learn(self) -> None:
        """What the reaper settled is told by nobody: read it."""
        with self.store.reading() as session:
            for row in session.exec(select(UsageRecord)):
                money = (row.charge_pico_usd, row.credit_pico_usd)
                assert self.charged.setdefault(row.call_id, money) == money


def _empty(session: Session) -> None:
    for table in _TABLES:
        session.execute(text(f"DELETE FROM {table}"))


def test_the_books_are_in_order_after_every_step(store: Store) -> None:
    store.write_now(add_economy)
    Books.store = store
    case = Books.TestCase
    case.settings = settings(
        max_examples=25 if store.is_sqlite else 10,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    case().runTest()
