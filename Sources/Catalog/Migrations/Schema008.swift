/// Servers that live elsewhere and are followed.
let schema008 = """
  CREATE TABLE exzo.attachments (
    project_id text PRIMARY KEY REFERENCES exzo.projects (id),
    account_id text NOT NULL REFERENCES exzo.accounts (id),
    plan text NOT NULL,
    branch_id text NOT NULL,
    line_id text NOT NULL,
    host text NOT NULL,
    port int NOT NULL,
    role_name text NOT NULL,
    database_name text NOT NULL,
    ssl_mode text,
    sealed_password bytea,
    slot text NOT NULL,
    source jsonb NOT NULL,
    status text NOT NULL,
    error text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    detached_at timestamptz);
  CREATE INDEX attachments_line ON exzo.attachments (line_id);
  """
