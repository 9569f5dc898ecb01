"""One row of the table of scenarios, and the words that rows are written in."""

from dataclasses import dataclass

from control_plane.economy import Role
from control_plane.store.economy_tables import Account, Overage
from tests.support.gateway_engine import PROMPT_TOKENS
from tests.support.market import PRICE, SHARE_BASIS_POINTS
from tests.support.scenes import COMPLETION_TOKENS, LENDER, Given, State
from tests.support.vendor import COMPLETION_TOKENS as VENDORS_COMPLETION_TOKENS
from tests.support.vendor import PROMPT_TOKENS as VENDORS_PROMPT_TOKENS

READY, FULL, OUT, DIES = State.READY, State.FULL, State.OUT, State.DIES
OWNER, PROVIDER, CONSUMER, NONE = Role.OWNER, Role.PROVIDER, Role.CONSUMER, Role.NONE

CHARGE = PROMPT_TOKENS * PRICE.input_micro_usd_per_mtok + COMPLETION_TOKENS * PRICE.output_micro_usd_per_mtok
CREDIT = CHARGE * SHARE_BASIS_POINTS // 10_000
# By the vendor's word, at 2 and 5 USD per million tokens.
VENDORS_CHARGE = VENDORS_PROMPT_TOKENS * 2_000_000 + VENDORS_COMPLETION_TOKENS * 5_000_000
# In micro-USD: far more than any call here may cost at the vendor.
AMPLE = 1_000_000


@dataclass(frozen=True, slots=True)
class Then:
    """Tier and place, HTTP, money in pico-USD, and the account that earns the credit."""

    tier: str | None
    served_by: str | None
    status: int = 200
    code: str | None = None
    charge: int = 0
    credit: int = 0
    account: tuple[str, str] | None = None


ON_ITS_OWN = Then("own", "own")
ON_HOSTED = Then("pool", "hosted", charge=CHARGE)
ON_LENT = Then("pool", "lent", charge=CHARGE, credit=CREDIT, account=(Account.HELD, LENDER))
ON_LENT_FREE = Then("pool", "lent", charge=CHARGE, credit=CREDIT, account=(Account.NON_PAYABLE, LENDER))
AT_VENDOR = Then("external", "vendor", charge=VENDORS_CHARGE)
NO_CAPACITY = Then(None, None, 503, "no_capacity")
ENGINE_FAILED = Then(None, None, 502, "engine_failed")
UNKNOWN_MODEL = Then(None, None, 404, "model_not_found")
NOT_ENTITLED = Then(None, None, 403, "not_entitled")
OVER_QUOTA = Then(None, None, 429, "quota_exceeded")
OVER_CAP = Then(None, None, 429, "spend_cap_reached")
OVER_LIMIT = Then(None, None, 429, "rate_limited")
NOT_SHARED = Then(None, None, 400, "field_not_shared")
TOO_LONG = Then(None, None, 400, "context_length_exceeded")

BOTH, SHARED = ("hosted", "shared"), ("shared",)
EXTERNAL = Overage.EXTERNAL


@dataclass(frozen=True, slots=True)
class Row:
    says: str
    role: Role
    given: Given
    then: Then
    # Each is the code of something that was left out, denied or failed.
    because: tuple[str, ...] = ()
    # Engines beyond the one that served which were sent the call.
    also_reached: tuple[str, ...] = ()
