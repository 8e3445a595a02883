/// The Console's sessions, and support tickets.
let schema006 = """
  CREATE TABLE exzo.console_sessions (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES exzo.accounts (id),
    plan text NOT NULL,
    key_id bigint NOT NULL,
    form_token text NOT NULL,
    address text NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL);
  CREATE INDEX console_sessions_expiry ON exzo.console_sessions (expires_at);
  CREATE INDEX console_sessions_key ON exzo.console_sessions (key_id);

  CREATE TABLE exzo.support_tickets (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES exzo.accounts (id),
    plan text NOT NULL,
    subject text NOT NULL,
    state text NOT NULL,
    messages jsonb NOT NULL,
    bundle text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL);
  CREATE INDEX support_tickets_account ON exzo.support_tickets (account_id, created_at DESC);
  """
