-- The reference outlier API's own storage (SQLite): counts of facts, and answers given.
-- Months are UTC, such as 2026-03, and have a default for a version that knows of none, after a rollback.

CREATE TABLE IF NOT EXISTS tenant_total (
    tenant_id TEXT PRIMARY KEY,
    logins INTEGER NOT NULL,
    users INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS user_total (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    month TEXT NOT NULL DEFAULT (strftime('%Y-%m', 'now')),  -- of the login
    logins INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id, month)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS user_total_month ON user_total (month);

CREATE TABLE IF NOT EXISTS level_total (
    tenant_id TEXT NOT NULL,
    level TEXT NOT NULL,
    distinct_values INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, level)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS value_count (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,         -- '' counts all users of the tenant
    level TEXT NOT NULL,
    value TEXT NOT NULL,
    month TEXT NOT NULL DEFAULT (strftime('%Y-%m', 'now')),
    logins INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id, level, value, month)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS learned (
    tenant_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    month TEXT NOT NULL DEFAULT (strftime('%Y-%m', 'now')),  -- in which it was asked
    PRIMARY KEY (tenant_id, request_id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS learned_month ON learned (month);

CREATE TABLE IF NOT EXISTS answer (
    tenant_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    body TEXT NOT NULL,
    month TEXT NOT NULL DEFAULT (strftime('%Y-%m', 'now')),  -- in which it was asked
    PRIMARY KEY (tenant_id, idempotency_key)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS answer_month ON answer (month);
