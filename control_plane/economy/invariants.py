"""The invariants of the money: what holds, and SQL that selects the rows of which it does not."""

# Each selects the rows that break it. Written to read alike on both databases.
INVARIANTS: tuple[tuple[str, str], ...] = (
    (
        "every transaction's entries sum to zero",
        (
            "SELECT t.id, coalesce(sum(e.amount_pico_usd), 0) AS sum FROM ledger_transaction t"
            " LEFT JOIN ledger_entry e ON e.transaction_id = t.id GROUP BY t.id"
            " HAVING coalesce(sum(e.amount_pico_usd), 1) <> 0"
        ),
    ),
    (
        "0 <= used + held <= quota",
        (
            "SELECT tenant_id, pool_id, month, used_tokens, held_tokens, quota_tokens FROM quota_month"
            " WHERE used_tokens < 0 OR held_tokens < 0 OR used_tokens + held_tokens > quota_tokens"
        ),
    ),
    (
        "0 <= spent + held <= cap at vendors",
        (
            "SELECT tenant_id, month, used_pico_usd, held_pico_usd, cap_pico_usd FROM external_month"
            " WHERE used_pico_usd < 0 OR held_pico_usd < 0 OR used_pico_usd + held_pico_usd > cap_pico_usd"
        ),
    ),
    (
        "what is held of a month is the sum of its open holds",
        (
            "SELECT q.tenant_id, q.pool_id, q.month, q.held_tokens, coalesce(sum(a.hold_tokens), 0) AS open"
            " FROM quota_month q LEFT JOIN attempt_terms a ON a.tenant_id = q.tenant_id"
            " AND a.pool_id = q.pool_id AND a.month = q.month AND a.hold_state = 'open'"
            " GROUP BY q.tenant_id, q.pool_id, q.month, q.held_tokens"
            " HAVING coalesce(sum(a.hold_tokens), 0) <> q.held_tokens"
        ),
    ),
    (
        "what is used of a month is the sum of its usage records",
        (
            "SELECT q.tenant_id, q.pool_id, q.month, q.used_tokens,"
            " coalesce(sum(u.prompt_tokens + u.completion_tokens), 0) AS recorded"
            " FROM quota_month q LEFT JOIN usage_record u ON u.tenant_id = q.tenant_id"
            " AND u.pool_id = q.pool_id AND u.month = q.month AND u.tier = 'pool'"
            " GROUP BY q.tenant_id, q.pool_id, q.month, q.used_tokens"
            " HAVING coalesce(sum(u.prompt_tokens + u.completion_tokens), 0) <> q.used_tokens"
        ),
    ),
    (
        "what is held of the spend at vendors is the sum of its open holds",
        (
            "SELECT q.tenant_id, q.month, q.held_pico_usd, coalesce(sum(a.hold_pico_usd), 0) AS open"
            " FROM external_month q LEFT JOIN attempt_terms a ON a.tenant_id = q.tenant_id"
            " AND a.tier = 'external' AND a.month = q.month AND a.hold_state = 'open'"
            " GROUP BY q.tenant_id, q.month, q.held_pico_usd"
            " HAVING coalesce(sum(a.hold_pico_usd), 0) <> q.held_pico_usd"
        ),
    ),
    (
        "what was spent at vendors is the sum of its usage records",
        (
            "SELECT q.tenant_id, q.month, q.used_pico_usd, coalesce(sum(u.charge_pico_usd), 0) AS recorded"
            " FROM external_month q LEFT JOIN usage_record u ON u.tenant_id = q.tenant_id"
            " AND u.tier = 'external' AND u.month = q.month GROUP BY q.tenant_id, q.month, q.used_pico_usd"
            " HAVING coalesce(sum(u.charge_pico_usd), 0) <> q.used_pico_usd"
        ),
    ),
    (
        "every hold belongs to a month's row",
        (
            "SELECT a.attempt_id FROM attempt_terms a"
            " LEFT JOIN quota_month q ON q.tenant_id = a.tenant_id AND q.pool_id = a.pool_id"
            " AND q.month = a.month"
            " LEFT JOIN external_month x ON x.tenant_id = a.tenant_id AND x.month = a.month"
            " WHERE (a.tier = 'pool' AND q.month IS NULL) OR (a.tier = 'external' AND x.month IS NULL)"
        ),
    ),
    (
        "a hold is settled exactly where its attempt has a usage record",
        (
            "SELECT a.attempt_id, a.hold_state, u.call_id FROM attempt_terms a"
            " LEFT JOIN usage_record u ON u.attempt_id = a.attempt_id AND u.call_id = a.call_id"
            " WHERE (a.hold_state = 'settled') <> (u.call_id IS NOT NULL)"
        ),
    ),
    (
        "a usage record repeats the frozen terms of its attempt, and has some unless an own card served",
        (
            "SELECT u.call_id, u.attempt_id, u.tier FROM usage_record u"
            " LEFT JOIN attempt_terms a ON a.attempt_id = u.attempt_id WHERE (u.tier <> 'own' AND"
            " (a.attempt_id IS NULL OR a.tenant_id <> u.tenant_id OR a.tier <> u.tier OR a.month <> u.month"
            " OR a.billing <> u.billing OR coalesce(a.agent_id, '') <> coalesce(u.agent_id, '')"
            " OR coalesce(a.pool_id, '') <> coalesce(u.pool_id, '')"
            " OR u.prompt_tokens + u.completion_tokens > a.hold_tokens))"
            " OR (u.tier = 'own' AND a.attempt_id IS NOT NULL)"
        ),
    ),
    (
        "own-card calls charge and credit nothing",
        (
            "SELECT u.call_id FROM usage_record u"
            " LEFT JOIN ledger_transaction t ON t.call_id = u.call_id WHERE u.tier = 'own'"
            " AND (u.charge_pico_usd <> 0 OR u.credit_pico_usd <> 0 OR t.id IS NOT NULL)"
        ),
    ),
    (
        "one settled call has one settlement, and no other has one",
        (
            "SELECT u.call_id AS recorded, t.call_id AS posted FROM usage_record u"
            " FULL JOIN (SELECT call_id FROM ledger_transaction WHERE kind = 'settlement') t"
            " ON t.call_id = u.call_id"
            " WHERE (u.call_id IS NULL) OR (u.tier <> 'own' AND t.call_id IS NULL)"
        ),
    ),
    (
        "a settlement is one debit of the charge, at most one credit, and the platform's remainder",
        (
            "SELECT u.call_id, u.charge_pico_usd, u.credit_pico_usd FROM usage_record u"
            " JOIN ledger_transaction t ON t.call_id = u.call_id AND t.kind = 'settlement'"
            " JOIN ledger_entry e ON e.transaction_id = t.id"
            " GROUP BY u.call_id, u.charge_pico_usd, u.credit_pico_usd, u.tenant_id"
            " HAVING sum(CASE WHEN e.account = 'consumer' AND e.tenant_id = u.tenant_id"
            " AND e.amount_pico_usd = -u.charge_pico_usd THEN 1 ELSE 0 END) <> 1"
            " OR sum(CASE WHEN e.account = 'platform'"
            " AND e.amount_pico_usd = u.charge_pico_usd - u.credit_pico_usd THEN 1 ELSE 0 END) <> 1"
            " OR count(*) <> CASE WHEN u.credit_pico_usd = 0 THEN 2 ELSE 3 END"
        ),
    ),
    (
        "a credit goes to the owner of the card that served, who is not the consumer, by its billing",
        (
            "SELECT u.call_id, e.account, e.tenant_id, e.agent_id FROM usage_record u"
            " JOIN ledger_transaction t ON t.call_id = u.call_id AND t.kind = 'settlement'"
            " JOIN ledger_entry e ON e.transaction_id = t.id AND e.account NOT IN ('consumer', 'platform')"
            " LEFT JOIN agent g ON g.id = e.agent_id"
            " WHERE e.amount_pico_usd <> u.credit_pico_usd OR e.agent_id IS NULL OR e.agent_id <> u.agent_id"
            " OR g.tenant_id <> e.tenant_id OR e.tenant_id = u.tenant_id"
            " OR e.account <> CASE WHEN u.billing = 'free' THEN 'non_payable' ELSE 'held' END"
        ),
    ),
    (
        "a reversal takes back its settlement, once and whole",
        (
            "SELECT r.id, r.reverses_id FROM ledger_transaction r"
            " LEFT JOIN ledger_transaction t ON t.id = r.reverses_id AND t.kind = 'settlement'"
            " AND t.call_id = r.call_id WHERE r.kind = 'reversal' AND (t.id IS NULL OR EXISTS ("
            " SELECT 1 FROM ledger_entry e WHERE e.transaction_id IN (r.id, t.id)"
            " GROUP BY coalesce(e.tenant_id, ''), coalesce(e.agent_id, '')"
            " HAVING sum(e.amount_pico_usd) <> 0))"
        ),
    ),
    (
        "a paid statement holds back only flagged cards' credit, and nothing is released before",
        (
            "SELECT t.consumer_tenant_id, t.month, e.agent_id, sum(e.amount_pico_usd) AS held"
            " FROM ledger_transaction t"
            " JOIN ledger_entry e ON e.transaction_id = t.id AND e.account = 'held'"
            " LEFT JOIN statement_paid s ON s.tenant_id = t.consumer_tenant_id AND s.month = t.month"
            " LEFT JOIN provider_flag f ON f.agent_id = e.agent_id AND f.cleared_unix_ms IS NULL"
            " GROUP BY t.consumer_tenant_id, t.month, e.agent_id, s.paid_unix_ms, f.agent_id"
            " HAVING (s.paid_unix_ms IS NOT NULL AND f.agent_id IS NULL AND sum(e.amount_pico_usd) <> 0)"
            " OR (s.paid_unix_ms IS NULL AND sum(CASE WHEN t.kind = 'release' THEN 1 ELSE 0 END) <> 0)"
        ),
    ),
    (
        "no card's held credit is below zero in any statement",
        (
            "SELECT t.consumer_tenant_id, t.month, e.agent_id, sum(e.amount_pico_usd) AS held"
            " FROM ledger_transaction t JOIN ledger_entry e ON e.transaction_id = t.id AND e.account = 'held'"
            " GROUP BY t.consumer_tenant_id, t.month, e.agent_id HAVING sum(e.amount_pico_usd) < 0"
        ),
    ),
    (
        "whoever saw the end of a pool's or vendor's answer has a settled record",
        (
            "SELECT c.id FROM call c LEFT JOIN usage_record u ON u.call_id = c.id"
            " WHERE c.outcome = 'complete' AND c.tier IN ('pool', 'external') AND u.call_id IS NULL"
        ),
    ),
)
