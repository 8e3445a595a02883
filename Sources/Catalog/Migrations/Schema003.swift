/// Accounts, sharing, the retention window's changes, and metering.
let schema003 = """
  ALTER TABLE exzo.plans ADD COLUMN written_bytes_limit bigint;
  CREATE UNIQUE INDEX accounts_email ON exzo.accounts (lower(email));

  CREATE TABLE exzo.project_permissions (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES exzo.accounts (id),
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    email text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz);
  CREATE UNIQUE INDEX project_permissions_email ON exzo.project_permissions
    (project_id, lower(email)) WHERE revoked_at IS NULL;
  CREATE INDEX project_permissions_grantee ON exzo.project_permissions (lower(email))
    WHERE revoked_at IS NULL;

  CREATE TABLE exzo.retention_changes (
    project_id text PRIMARY KEY REFERENCES exzo.projects (id),
    account_id text NOT NULL,
    plan text NOT NULL,
    previous_seconds bigint NOT NULL,
    requested_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    floor timestamptz,
    created_at timestamptz NOT NULL);

  ALTER TABLE exzo.transfer DROP CONSTRAINT transfer_pkey,
    ADD PRIMARY KEY (endpoint_id, branch_id, hour, kind);
  CREATE INDEX transfer_project ON exzo.transfer (project_id, hour);

  CREATE TABLE exzo.usage_hours (
    branch_id text NOT NULL,
    hour timestamptz NOT NULL,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    active_milliseconds bigint NOT NULL DEFAULT 0,
    compute_milliseconds bigint NOT NULL DEFAULT 0,
    written_bytes bigint NOT NULL DEFAULT 0,
    logical_size_bytes bigint,
    history_bytes bigint,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (branch_id, hour));
  CREATE INDEX usage_hours_project ON exzo.usage_hours (project_id, hour);
  CREATE INDEX usage_hours_account ON exzo.usage_hours (account_id, hour);

  CREATE TABLE exzo.usage_marks (
    subject text PRIMARY KEY,
    project_id text NOT NULL,
    counted_until timestamptz,
    position pg_lsn,
    created_at timestamptz NOT NULL);

  CREATE TABLE exzo.branch_sizes (
    branch_id text PRIMARY KEY REFERENCES exzo.branches (id),
    project_id text NOT NULL,
    logical_size_bytes bigint,
    history_bytes bigint,
    measured_at timestamptz NOT NULL);

  CREATE TABLE exzo.meter_batches (
    writer text PRIMARY KEY,
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL);

  ALTER TABLE exzo.audit_log ADD COLUMN address text NOT NULL DEFAULT '';
  CREATE INDEX audit_log_account ON exzo.audit_log (account_id, id DESC);
  """
