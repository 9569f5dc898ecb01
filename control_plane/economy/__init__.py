"""The economy: roles, pools, plans, prices, quota, the ledger. DESIGN's words: a *hold* reserves, it is
then *settled* or *void*, once; *terms* are what an attempt was made under, frozen.

For the router and the gateway:
- Memory only: `EconomyIndex(store)` (`run`, `refresh`; `tenant(id) -> TenantEconomy`, `offers(tenant_id,
  served_name, now_ms) -> Offers`), `LimitTable.admit(...) -> Admitted | Limited`, then one `.release(...)`.
- Before dispatch `Store.write_item(hold_all, NewHold(NewTerms(...), rows, save)) -> Held | QuotaExceeded`:
  `save(session, [rows, ...])` writes calls and attempts of those held. At the end
  `Store.write_item(settle_all, SettleItem(facts, rows, save)) -> Settled`, of SettleFacts, OwnFacts for own
  cards, or VoidFacts where no content came. Settling again returns what was settled.
- Units of `Store.write` that do one at a time: `hold`, `settle`, `settle_own`, `void`; and
  `checkpoint(session, attempt_id, tokens)` between.
- `reap_holds(session, ...)` from time to time, for what a crash left open.
"""

from control_plane.economy.index import EconomyIndex
from control_plane.economy.ledger import reverse
from control_plane.economy.limits import Admitted, Limit, Limited, LimitTable
from control_plane.economy.money import PriceTerms, Tokens
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
from control_plane.economy.queries import read_economy
from control_plane.economy.quota import Held, NewHold, QuotaExceeded, checkpoint, hold, hold_all
from control_plane.economy.reaper import Reaped, reap_holds
from control_plane.economy.rights import (
    PolicyChange,
    change_policy,
    end_subscription,
    list_subscriptions,
    start_subscription,
)
from control_plane.economy.roles import Role, RoleFacts, resolve_role
from control_plane.economy.settlement import (
    NothingHeld,
    OwnFacts,
    Settled,
    SettleFacts,
    SettleItem,
    VoidFacts,
    settle,
    settle_all,
    settle_own,
    void,
)
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
    Offers,
    PlanTerms,
    PoolCard,
    PoolEconomy,
    PoolOffer,
    PoolPlace,
    PoolRight,
    TenantEconomy,
    VendorPlace,
)
from control_plane.economy.verify import Broken, verify

__all__ = [
    "Admitted",
    "Broken",
    "Credit",
    "EconomyIndex",
    "ExternalPolicy",
    "Held",
    "LeftOutPool",
    "Limit",
    "LimitTable",
    "Limited",
    "NewHold",
    "NewPlan",
    "NewTerms",
    "NothingHeld",
    "Offers",
    "OwnFacts",
    "PlanTerms",
    "PolicyChange",
    "PoolCard",
    "PoolEconomy",
    "PoolOffer",
    "PoolPlace",
    "PoolRight",
    "PriceTerms",
    "QuotaExceeded",
    "Reaped",
    "Role",
    "RoleFacts",
    "SettleFacts",
    "SettleItem",
    "Settled",
    "Statement",
    "TenantEconomy",
    "Tokens",
    "Usage",
    "VendorPlace",
    "VoidFacts",
    "change_policy",
    "checkpoint",
    "contribute",
    "contributions",
    "create_plan",
    "create_pool",
    "credits_of_cards",
    "end_subscription",
    "find_plan",
    "find_pool",
    "hold",
    "hold_all",
    "list_plans",
    "list_pools",
    "list_prices",
    "list_subscriptions",
    "mark_paid",
    "read_economy",
    "reap_holds",
    "resolve_role",
    "reverse",
    "set_price",
    "set_share",
    "settle",
    "settle_all",
    "settle_own",
    "start_subscription",
    "statements",
    "usage",
    "verify",
    "void",
    "withdraw",
]
