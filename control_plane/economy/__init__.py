"""The economy: roles, pools, plans, prices, quota, the ledger. DESIGN's words: a *hold* reserves, it is
then *settled* or *void*, once; *terms* are what an attempt was made under, frozen.

For the router and the gateway:
- Memory only: `EconomyIndex(store)` (`run`, `refresh`; `tenant(id) -> TenantEconomy`, `offers(tenant_id,
  served_name, now_ms) -> Offers`), `LimitTable.admit(...) -> Admitted | Limited`, then one `.release(...)`.
- For many calls at once, in functions that `Store.write_item` is given: before dispatch
  `hold_all(session, [(NewTerms(...), rows), ...], save) -> [Held | QuotaExceeded, ...]`, where
  `save(session, [rows, ...])` writes calls and attempts of those held; at the end, their rows written,
  `settle_all(session, [Ending, ...]) -> [Settled | None, ...]`, an Ending being one of SettleFacts, OwnFacts,
  Voided, TakenBack:
  None where nothing was held. Settling again returns what was settled.
- For one, as units of `Store.write`: `hold`, `checkpoint`, `settle` (raises NothingHeld), `settle_own`,
  `void`.
- `reap_holds(session, ...)` from time to time, for what a crash left open. `find_drift(session)` in a reading
  session, and where it finds something `judge_providers(session, now_ms)` in a writing one: a card whose
  claims exceed the own counts is *flagged*, and its held credit stays held until the operator clears it.
"""

from control_plane.economy.drift import Drift
from control_plane.economy.drift_watch import DriftWatch
from control_plane.economy.flags import clear_flag, find_drift, judge_providers, list_flags
from control_plane.economy.index import EconomyIndex
from control_plane.economy.ledger import reverse
from control_plane.economy.limits import Admitted, Limit, Limited, LimitTable
from control_plane.economy.money import (
    MOST_HOLD_TOKENS,
    MOST_PRICE_MICRO_USD_PER_MTOK,
    PriceTerms,
    Tokens,
    payable_tokens,
)
from control_plane.economy.months import is_month, month_bounds, month_of
from control_plane.economy.pins import NewPin, Pin, add_pin, end_pin, list_pins, pin_for
from control_plane.economy.plans import NewPlan, create_plan, find_plan, list_plans
from control_plane.economy.pools import (
    contribute,
    contributions,
    create_pool,
    find_pool,
    list_pools,
    withdraw,
)
from control_plane.economy.prices import list_prices, set_price, set_share
from control_plane.economy.queries import Economy, read_economy, tenant_of
from control_plane.economy.quota import Held, QuotaExceeded, checkpoint, hold, hold_all
from control_plane.economy.reaper import Reaped, reap_holds
from control_plane.economy.rights import (
    PolicyChange,
    change_policy,
    end_subscription,
    list_subscriptions,
    start_subscription,
)
from control_plane.economy.ring import RING_SIZE, CardRing, PoolCard
from control_plane.economy.roles import Role, RoleFacts, resolve_role
from control_plane.economy.savings import Saving, savings
from control_plane.economy.served import Served, served
from control_plane.economy.settlement import (
    Ending,
    NothingHeld,
    OwnFacts,
    Settled,
    SettleFacts,
    TakenBack,
    Voided,
    settle,
    settle_all,
    settle_own,
    void,
)
from control_plane.economy.span import DAY_MS, Span, day_text, span_of_days
from control_plane.economy.spending import Group, Spend, calls_within, spending
from control_plane.economy.standing import QuotaStanding, quota_standing
from control_plane.economy.statements import (
    Credit,
    Statement,
    Usage,
    credits_of_cards,
    mark_paid,
    statements,
    usage,
)
from control_plane.economy.terms import (
    ExternalPolicy,
    LeftOutPool,
    NewTerms,
    NoOffer,
    Offers,
    PlanTerms,
    PoolEconomy,
    PoolOffer,
    PoolPlace,
    PoolRight,
    TenantEconomy,
    VendorPlace,
)
from control_plane.economy.verify import Broken, verify

__all__ = [
    "DAY_MS",
    "MOST_HOLD_TOKENS",
    "MOST_PRICE_MICRO_USD_PER_MTOK",
    "RING_SIZE",
    "Admitted",
    "Broken",
    "CardRing",
    "Credit",
    "Drift",
    "DriftWatch",
    "Economy",
    "EconomyIndex",
    "Ending",
    "ExternalPolicy",
    "Group",
    "Held",
    "LeftOutPool",
    "Limit",
    "LimitTable",
    "Limited",
    "NewPin",
    "NewPlan",
    "NewTerms",
    "NoOffer",
    "NothingHeld",
    "Offers",
    "OwnFacts",
    "Pin",
    "PlanTerms",
    "PolicyChange",
    "PoolCard",
    "PoolEconomy",
    "PoolOffer",
    "PoolPlace",
    "PoolRight",
    "PriceTerms",
    "QuotaExceeded",
    "QuotaStanding",
    "Reaped",
    "Role",
    "RoleFacts",
    "Saving",
    "Served",
    "SettleFacts",
    "Settled",
    "Span",
    "Spend",
    "Statement",
    "TakenBack",
    "TenantEconomy",
    "Tokens",
    "Usage",
    "VendorPlace",
    "Voided",
    "add_pin",
    "calls_within",
    "change_policy",
    "checkpoint",
    "clear_flag",
    "contribute",
    "contributions",
    "create_plan",
    "create_pool",
    "credits_of_cards",
    "day_text",
    "end_pin",
    "end_subscription",
    "find_drift",
    "find_plan",
    "find_pool",
    "hold",
    "hold_all",
    "is_month",
    "judge_providers",
    "list_flags",
    "list_pins",
    "list_plans",
    "list_pools",
    "list_prices",
    "list_subscriptions",
    "mark_paid",
    "month_bounds",
    "month_of",
    "payable_tokens",
    "pin_for",
    "quota_standing",
    "read_economy",
    "reap_holds",
    "resolve_role",
    "reverse",
    "savings",
    "served",
    "set_price",
    "set_share",
    "settle",
    "settle_all",
    "settle_own",
    "span_of_days",
    "spending",
    "start_subscription",
    "statements",
    "tenant_of",
    "usage",
    "verify",
    "void",
    "withdraw",
]
