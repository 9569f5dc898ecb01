"""Ids: distinct types over text, so that one kind never passes for another.

An id is a prefix that says its kind and 128 bits of which the first 48 are the time (UUID version 7's
layout), in Crockford's base 32: ids sort by creation and stay short in logs and terminals.
"""

import random
import time
from typing import NewType

TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
ApiKeyId = NewType("ApiKeyId", str)
InviteId = NewType("InviteId", str)
AgentId = NewType("AgentId", str)
CallId = NewType("CallId", str)
AttemptId = NewType("AttemptId", str)
PoolId = NewType("PoolId", str)
PlanId = NewType("PlanId", str)
ContributionId = NewType("ContributionId", str)
SubscriptionId = NewType("SubscriptionId", str)
TransactionId = NewType("TransactionId", str)
DiagnosticRunId = NewType("DiagnosticRunId", str)
ProcessId = NewType("ProcessId", str)
PinId = NewType("PinId", str)
LoadTestId = NewType("LoadTestId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Two characters at a time: every call makes three ids.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def _new(prefix: str) -> str:
    # Unique, and no secret. Randomness from the kernel would give the interpreter away to another thread, and
    # wait for it: 13 µs where a busy writer has it.
    number = (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80)
    return f"{prefix}-{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def new_tenant_id() -> TenantId:
    return TenantId(_new("ten"))


def new_user_id() -> UserId:
    return UserId(_new("usr"))


def new_api_key_id() -> ApiKeyId:
    return ApiKeyId(_new("key"))


def new_invite_id() -> InviteId:
    return InviteId(_new("inv"))


def new_agent_id() -> AgentId:
    return AgentId(_new("agt"))


def new_call_id() -> CallId:
    return CallId(_new("call"))


def new_attempt_id() -> AttemptId:
    return AttemptId(_new("att"))


def new_pool_id() -> PoolId:
    return PoolId(_new("pool"))


def new_plan_id() -> PlanId:
    return PlanId(_new("plan"))


def new_contribution_id() -> ContributionId:
    return ContributionId(_new("con"))


def new_subscription_id() -> SubscriptionId:
    return SubscriptionId(_new("sub"))


def new_transaction_id() -> TransactionId:
    return TransactionId(_new("txn"))


def new_process_id() -> ProcessId:
    return ProcessId(_new("proc"))


def new_pin_id() -> PinId:
    return PinId(_new("pin"))


def new_diagnostic_run_id() -> DiagnosticRunId:
    return DiagnosticRunId(_new("dgn"))


def new_load_test_id() -> LoadTestId:
    return LoadTestId(_new("load"))
