"""The table of scenarios: who asks for what in which world, and the tier, the reason and the money of it."""

from control_plane.store.economy_tables import Billing
from control_plane.store.tables import Tier
from tests.support.scenario import (
    AMPLE,
    AT_VENDOR,
    BOTH,
    CONSUMER,
    DIES,
    ENGINE_FAILED,
    EXTERNAL,
    FULL,
    NO_CAPACITY,
    NONE,
    NOT_ENTITLED,
    NOT_SHARED,
    ON_HOSTED,
    ON_ITS_OWN,
    ON_LENT,
    ON_LENT_FREE,
    OUT,
    OVER_CAP,
    OVER_LIMIT,
    OVER_QUOTA,
    OWNER,
    PROVIDER,
    READY,
    SHARED,
    TOO_LONG,
    UNKNOWN_MODEL,
    Row,
)  # fmt: skip
from tests.support.scenes import Given, Quota, State

ROWS = (
    # An owner.
    Row("an owner is served by its own card for nothing", OWNER, Given(own=READY), ON_ITS_OWN),
    Row(
        "an owner may ask by the model's catalogue id",
        OWNER, Given(own=READY, model="tiny-random-llama"), ON_ITS_OWN,
    ),
    Row("an owner's coding key meets its own card", OWNER, Given(own=READY, coding_key=True), ON_ITS_OWN),
    Row(
        "an owner's declared coding call is served by its own card",
        OWNER, Given(own=READY, declared="coding"), ON_ITS_OWN,
    ),
    Row(
        "an owner with a subscription is still served by its own card first",
        OWNER, Given(own=READY, subscribed=BOTH), ON_ITS_OWN,
    ),
    Row(
        "an owner's own call goes to a critical card all the same",
        OWNER, Given(own=State.CRITICAL, default_plan=True), ON_ITS_OWN,
    ),
    Row(
        "an owner's call goes to a card that is suspect and alone",
        OWNER, Given(own=State.SUSPECT, default_plan=True), ON_ITS_OWN,
    ),
    Row(
        "an owner whose quota is spent is served by its own card",
        OWNER, Given(own=READY, subscribed=BOTH, quota=Quota.SPENT), ON_ITS_OWN,
    ),
    Row(
        "an owner's card takes fields that shared cards do not",
        OWNER, Given(own=READY, fields={"use_beam_search": True}), ON_ITS_OWN,
    ),
    Row(
        "an owner whose queue is full overflows into the default plan",
        OWNER, Given(own=FULL, default_plan=True), ON_HOSTED, ("queue_full",),
    ),
    Row(
        "an owner whose queue is full overflows into its subscription",
        OWNER, Given(own=FULL, subscribed=SHARED), ON_LENT, ("queue_full",),
    ),
    Row(
        "an owner whose queue is full finds no room where it may use no pool",
        OWNER, Given(own=FULL), NO_CAPACITY, ("queue_full", "not_entitled"),
    ),
    Row(
        "an owner whose card is drained is served by the pool",
        OWNER, Given(own=State.DRAINING, default_plan=True), ON_HOSTED, ("draining",),
    ),
    Row(
        "an owner whose engine is not ready is served by the pool",
        OWNER, Given(own=State.NOT_READY, default_plan=True), ON_HOSTED, ("not_ready",),
    ),
    Row(
        "an owner whose card is out is an owner still and served by the pool",
        OWNER, Given(own=OUT, default_plan=True), ON_HOSTED, ("out_of_reach",),
    ),
    Row(
        "an owner whose card's breaker is open is served by the pool",
        OWNER, Given(own=State.BREAKER_OPEN, default_plan=True), ON_HOSTED, ("breaker_open",),
    ),
    Row(
        "an owner whose card runs another model is served by the pool",
        OWNER, Given(own=State.OTHER_MODEL, default_plan=True), ON_HOSTED, ("other_model",),
    ),
    Row(
        "an owner whose card dies over the call is served by the pool and charged once",
        OWNER, Given(own=DIES, default_plan=True), ON_HOSTED, ("connection_lost",), ("own",),
    ),
    Row(
        "an owner whose card is out is refused its coding call where there are third-party cards only",
        OWNER, Given(own=OUT, hosted=None, subscribed=SHARED, coding_key=True), NO_CAPACITY,
        ("out_of_reach", "untrusted_cards"),
    ),
    Row(
        "an owner whose card is out has its coding call served on the operator's card",
        OWNER, Given(own=OUT, subscribed=BOTH, coding_key=True), ON_HOSTED, ("out_of_reach",),
    ),
    Row("an owner's unknown model is not found", OWNER, Given(own=READY, model="gpt-x"), UNKNOWN_MODEL),
    Row(
        "an owner's call that no card's context fits is told so",
        OWNER, Given(own=READY, default_plan=True, max_tokens=9_000), TOO_LONG, ("context_too_small",),
    ),
    # A provider.
    Row(
        "a provider is served by its own lent card for nothing",
        PROVIDER, Given(own=READY, lends=True), ON_ITS_OWN,
    ),
    Row(
        "a provider's own card is no pool card for it",
        PROVIDER, Given(own=FULL, lends=True, lent=None, subscribed=SHARED), NO_CAPACITY,
        ("queue_full", "no_cards"),
    ),
    Row(
        "a provider whose card is full is served by another provider's",
        PROVIDER, Given(own=FULL, lends=True, subscribed=SHARED), ON_LENT, ("queue_full",),
    ),
    Row(
        "a provider whose card is out is a provider still and may use the default plan",
        PROVIDER, Given(own=OUT, lends=True, default_plan=True), ON_HOSTED, ("out_of_reach",),
    ),
    Row(
        "who took its card back is an owner again and served by it",
        OWNER, Given(own=State.WITHDRAWN, lends=True, subscribed=SHARED), ON_ITS_OWN,
    ),
    # A consumer.
    Row("a consumer's call earns the lender its share", CONSUMER, Given(subscribed=SHARED), ON_LENT),
    Row(
        "a consumer's call on the operator's card earns nobody a credit",
        CONSUMER, Given(subscribed=("hosted",)), ON_HOSTED,
    ),
    Row(
        "a consumer with two subscriptions is served by the hosted pool first",
        CONSUMER, Given(subscribed=BOTH), ON_HOSTED,
    ),
    Row(
        "a consumer's subscription comes before the default plan",
        CONSUMER, Given(subscribed=SHARED, default_plan=True), ON_LENT,
    ),
    Row(
        "a consumer on a free plan earns the lender nothing payable",
        CONSUMER, Given(subscribed=SHARED, billing=Billing.FREE), ON_LENT_FREE,
    ),
    Row(
        "a consumer may ask a pool by the model's catalogue id",
        CONSUMER, Given(subscribed=SHARED, model="tiny-random-llama"), ON_LENT,
    ),
    Row(
        "a consumer's unknown model is not found",
        CONSUMER, Given(subscribed=BOTH, model="gpt-x"), UNKNOWN_MODEL, ("unpriced",),
    ),
    Row(
        "a consumer's unpriced model is not served",
        CONSUMER, Given(subscribed=BOTH, priced=False), UNKNOWN_MODEL, ("unpriced",),
    ),
    Row(
        "a consumer's full card is passed over for the other pool's",
        CONSUMER, Given(subscribed=BOTH, hosted=FULL), ON_LENT, ("no_room",),
    ),
    Row(
        "a consumer's critical card is passed over for the other pool's",
        CONSUMER, Given(subscribed=BOTH, hosted=State.CRITICAL), ON_LENT, ("unhealthy",),
    ),
    Row(
        "a consumer finds no room where every card is full",
        CONSUMER, Given(subscribed=BOTH, hosted=FULL, lent=FULL), NO_CAPACITY, ("no_room",),
    ),
    Row(
        "a consumer is not served by a card that was withdrawn",
        CONSUMER, Given(subscribed=BOTH, lent=State.WITHDRAWN, hosted=OUT), NO_CAPACITY,
        ("no_cards", "out_of_reach"),
    ),
    Row(
        "a consumer is not served by a card whose breaker is open",
        CONSUMER, Given(subscribed=SHARED, lent=State.BREAKER_OPEN), NO_CAPACITY, ("breaker_open",),
    ),
    Row(
        "a consumer's call goes on to the other pool where a gate has no room",
        CONSUMER, Given(subscribed=BOTH, hosted=State.GATE_FULL), ON_LENT, ("no_capacity",), ("hosted",),
    ),
    Row(
        "a consumer's call goes on to the other pool where a card dies and is charged once",
        CONSUMER, Given(subscribed=BOTH, hosted=DIES), ON_LENT, ("connection_lost",), ("hosted",),
    ),
    Row(
        "a consumer whose only card dies is charged nothing",
        CONSUMER, Given(subscribed=SHARED, lent=DIES), ENGINE_FAILED, ("connection_lost",), ("lent",),
    ),
    Row(
        "a consumer that trusts operator cards only is not served by a lent one",
        CONSUMER, Given(subscribed=SHARED, trusting=False), NO_CAPACITY, ("untrusted_cards",),
    ),
    Row(
        "a consumer that trusts operator cards only is served by the operator's",
        CONSUMER, Given(subscribed=BOTH, trusting=False, hosted=READY), ON_HOSTED, ("untrusted_cards",),
    ),
    Row(
        "a consumer's model that cannot be counted is not served by a lent card",
        CONSUMER, Given(subscribed=SHARED, counted=False), NO_CAPACITY, ("uncountable",),
    ),
    Row(
        "a consumer's model that cannot be counted is served by the operator's card",
        CONSUMER, Given(subscribed=("hosted",), counted=False), ON_HOSTED,
    ),
    Row(
        "a consumer's coding key is never served by a lent card",
        CONSUMER, Given(subscribed=BOTH, hosted=FULL, coding_key=True), NO_CAPACITY,
        ("no_room", "untrusted_cards"),
    ),
    Row(
        "a consumer's declared coding call is never served by a lent card",
        CONSUMER, Given(subscribed=SHARED, declared="coding"), NO_CAPACITY, ("untrusted_cards",),
    ),
    Row(
        "a consumer's coding key cannot be undeclared",
        CONSUMER, Given(subscribed=SHARED, coding_key=True, declared="general"), NO_CAPACITY,
        ("untrusted_cards",),
    ),
    Row(
        "a consumer's quota that is nearly spent serves what fits when counted exactly",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.NEARLY_SPENT), ON_LENT,
    ),
    Row(
        "a consumer's quota that is nearly spent does not serve what may use more",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.NEARLY_SPENT, max_tokens=30), OVER_QUOTA,
        ("quota_exceeded",),
    ),
    Row(
        "a consumer's quota that is nearly spent shortens a call that names no limit",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.NEARLY_SPENT, max_tokens=None), ON_LENT,
    ),
    Row(
        "a consumer's spent quota stops",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.SPENT), OVER_QUOTA, ("quota_exceeded",),
    ),
    Row(
        "a consumer's spent quota stops also a call that names no limit",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.SPENT, max_tokens=None), OVER_QUOTA,
        ("quota_exceeded",),
    ),
    Row(
        "a consumer's quota that is spent in one pool leaves the other's",
        CONSUMER, Given(subscribed=BOTH, quota=Quota.SPENT, max_tokens=15), ON_LENT, ("quota_exceeded",),
    ),
    Row(
        "a consumer over its limit of requests waits and does not fall through",
        CONSUMER, Given(subscribed=BOTH, requests_per_minute=0, overage=EXTERNAL, vendor=READY,
                        cap_micro_usd=AMPLE), OVER_LIMIT, ("rate_limited",),
    ),
    Row(
        "a consumer's field that no shared card takes is refused by name",
        CONSUMER, Given(subscribed=BOTH, fields={"use_beam_search": True}), NOT_SHARED,
        ("field_not_shared",),
    ),
    # Vendors.
    Row(
        "a consumer's spent quota goes to the vendor where plan and policy say so",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.SPENT, overage=EXTERNAL, vendor=READY,
                        cap_micro_usd=AMPLE), AT_VENDOR, ("quota_exceeded",),
    ),
    Row(
        "a consumer's spent quota stops where the plan says stop, whatever the policy",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.SPENT, vendor=READY, cap_micro_usd=AMPLE),
        OVER_QUOTA, ("quota_exceeded", "overage_stops"),
    ),
    Row(
        "a consumer's spent quota stops where the policy allows no vendor",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.SPENT, overage=EXTERNAL, vendor=READY),
        OVER_QUOTA, ("quota_exceeded", "external_not_allowed"),
    ),
    Row(
        "a consumer's spent quota stops where the spend cap is zero",
        CONSUMER, Given(subscribed=SHARED, quota=Quota.SPENT, overage=EXTERNAL, vendor=READY,
                        cap_micro_usd=0), OVER_QUOTA, ("quota_exceeded", "external_not_allowed"),
    ),
    Row(
        "a consumer's spend cap that does not cover the call refuses it",
        CONSUMER, Given(subscribed=SHARED, lent=FULL, overage=EXTERNAL, vendor=READY, cap_micro_usd=1),
        OVER_CAP, ("no_room", "spend_cap_reached"),
    ),
    Row(
        "a consumer's full pool falls through to the vendor",
        CONSUMER, Given(subscribed=SHARED, lent=FULL, overage=EXTERNAL, vendor=READY, cap_micro_usd=AMPLE),
        AT_VENDOR, ("no_room",),
    ),
    Row(
        "a consumer's full pool does not fall through where the plan says stop",
        CONSUMER, Given(subscribed=SHARED, lent=FULL, vendor=READY, cap_micro_usd=AMPLE), NO_CAPACITY,
        ("no_room", "overage_stops"),
    ),
    Row(
        "a consumer's coding call never goes to the vendor",
        CONSUMER, Given(subscribed=SHARED, lent=FULL, overage=EXTERNAL, vendor=READY, cap_micro_usd=AMPLE,
                        coding_key=True), NO_CAPACITY, ("untrusted_cards",),
    ),
    Row(
        "a consumer whose card and vendor both die is charged nothing",
        CONSUMER, Given(subscribed=SHARED, lent=DIES, overage=EXTERNAL, vendor=DIES, cap_micro_usd=AMPLE),
        ENGINE_FAILED, ("connection_lost",), ("lent", "vendor"),
    ),
    Row(
        "an owner without a pool may use the vendor when its card is out",
        OWNER, Given(own=OUT, vendor=READY, cap_micro_usd=AMPLE), AT_VENDOR,
        ("out_of_reach", "not_entitled"),
    ),
    Row(
        "an owner's card comes before the vendor",
        OWNER, Given(own=READY, vendor=READY, cap_micro_usd=AMPLE), ON_ITS_OWN,
    ),
    # By other names, and pinned.
    Row(
        "a consumer may ask a pool by the model's alias",
        CONSUMER, Given(subscribed=SHARED, model="alias-of-tiny"), ON_LENT,
    ),
    Row(
        "a consumer that leaves the model to us is served by what its pool has",
        CONSUMER, Given(subscribed=SHARED, model="auto"), ON_LENT,
    ),
    Row(
        "who may use nothing and leaves the model to us finds no room",
        CONSUMER, Given(subscribed=SHARED, lent=OUT, model="auto"), NO_CAPACITY,
    ),
    Row(
        "an owner's calls that are pinned to its own cards never overflow",
        OWNER, Given(own=FULL, default_plan=True, pinned=Tier.OWN), NO_CAPACITY,
        ("queue_full", "pinned_elsewhere"),
    ),
    Row(
        "an owner's calls that are pinned to the pool leave its own card alone",
        OWNER, Given(own=READY, default_plan=True, pinned=Tier.POOL), ON_HOSTED, ("pinned_elsewhere",),
    ),
    Row(
        "a consumer's calls that are pinned to one card go to no other",
        CONSUMER, Given(subscribed=BOTH, pinned=Tier.POOL, pinned_card="lent"), ON_LENT,
        ("pinned_elsewhere",),
    ),
    Row(
        "a consumer's coding calls do not follow a pin to a lent card",
        CONSUMER, Given(subscribed=BOTH, pinned=Tier.POOL, pinned_card="lent", coding_key=True), NO_CAPACITY,
        ("pinned_elsewhere", "untrusted_cards"),
    ),
    Row(
        "a consumer's calls that are pinned to the vendor go there first",
        CONSUMER, Given(subscribed=SHARED, pinned=Tier.EXTERNAL, overage=EXTERNAL, vendor=READY,
                        cap_micro_usd=AMPLE), AT_VENDOR, ("pinned_elsewhere",),
    ),
    Row(
        "a pin to the vendor does not undo the policy that allows none",
        CONSUMER, Given(subscribed=SHARED, pinned=Tier.EXTERNAL, overage=EXTERNAL, vendor=READY),
        NO_CAPACITY, ("pinned_elsewhere", "external_not_allowed"),
    ),
    Row(
        "a coding call does not follow a pin to the vendor",
        CONSUMER, Given(subscribed=BOTH, pinned=Tier.EXTERNAL, overage=EXTERNAL, vendor=READY,
                        cap_micro_usd=AMPLE, declared="coding"), NO_CAPACITY, ("pinned_elsewhere",),
    ),
    # Nobody in particular.
    Row("who has no role is served by the default plan", NONE, Given(default_plan=True), ON_HOSTED),
    Row("who has no role and no default plan needs a right", NONE, Given(), NOT_ENTITLED, ("not_entitled",)),
    Row(
        "who has no role has its coding call served by the default plan",
        NONE, Given(default_plan=True, coding_key=True), ON_HOSTED,
    ),
    Row(
        "who has no role finds no room where the hosted pool is full",
        NONE, Given(default_plan=True, hosted=FULL), NO_CAPACITY, ("no_room",),
    ),
    Row(
        "who has no role is never served by a lent card, however trusting",
        NONE, Given(default_plan=True, hosted=OUT, trusting=True), NO_CAPACITY, ("out_of_reach",),
    ),
    Row(
        "who has no role stops where the default plan's quota is spent",
        NONE, Given(default_plan=True, quota=Quota.SPENT), OVER_QUOTA, ("quota_exceeded",),
    ),
    Row(
        "who has no role and no right may use the vendor under its policy",
        NONE, Given(vendor=READY, cap_micro_usd=AMPLE), AT_VENDOR, ("not_entitled",),
    ),
    Row(
        "who has no role gets the default plan's overage to the vendor",
        NONE, Given(default_plan=True, quota=Quota.SPENT, overage=EXTERNAL, vendor=READY,
                    cap_micro_usd=AMPLE), AT_VENDOR, ("quota_exceeded",),
    ),
)  # fmt: skip
