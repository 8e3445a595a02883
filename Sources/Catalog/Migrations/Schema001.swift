/// The first schema. Every record carries the account, its plan when the record was made, and its
/// time of creation.
let schema001 = """
  CREATE TABLE exzo.settings (name text PRIMARY KEY, value text NOT NULL);

  CREATE TABLE exzo.plans (
    name text PRIMARY KEY,
    projects_limit bigint NOT NULL,
    branches_limit bigint NOT NULL,
    retention_seconds_maximum bigint NOT NULL,
    compute_units_maximum double precision NOT NULL,
    compute_seconds_limit bigint,
    transfer_bytes_limit bigint,
    prices jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL);

  CREATE TABLE exzo.accounts (
    id text PRIMARY KEY,
    plan text NOT NULL REFERENCES exzo.plans (name),
    name text NOT NULL,
    email text NOT NULL,
    is_admin boolean NOT NULL,
    created_at timestamptz NOT NULL);

  CREATE TABLE exzo.api_keys (
    id bigint PRIMARY KEY,
    account_id text NOT NULL REFERENCES exzo.accounts (id),
    plan text NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    last_used_from text NOT NULL DEFAULT '',
    revoked_at timestamptz);
  CREATE UNIQUE INDEX api_keys_hash ON exzo.api_keys (hash);
  CREATE SEQUENCE exzo.api_key_ids;

  CREATE TABLE exzo.projects (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES exzo.accounts (id),
    plan text NOT NULL,
    name text NOT NULL,
    pg_version int NOT NULL,
    settings jsonb NOT NULL,
    default_endpoint_settings jsonb NOT NULL,
    history_retention_seconds bigint NOT NULL,
    store_passwords boolean NOT NULL,
    durability text NOT NULL,
    default_branch_id text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz);
  CREATE INDEX projects_account ON exzo.projects (account_id, created_at DESC, id DESC);

  CREATE TABLE exzo.lines (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    parent_id text REFERENCES exzo.lines (id),
    parent_lsn pg_lsn,
    is_opened boolean NOT NULL,
    configuration text,
    created_at timestamptz NOT NULL,
    CHECK ((parent_id IS NULL) = (parent_lsn IS NULL)));
  CREATE INDEX lines_project ON exzo.lines (project_id);

  CREATE TABLE exzo.branches (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    line_id text NOT NULL REFERENCES exzo.lines (id),
    parent_id text REFERENCES exzo.branches (id),
    parent_lsn pg_lsn,
    parent_timestamp timestamptz,
    name text NOT NULL,
    state text NOT NULL,
    state_changed_at timestamptz NOT NULL,
    is_protected boolean NOT NULL,
    init_source text NOT NULL,
    annotation jsonb NOT NULL,
    annotated_at timestamptz,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    deletion_method text);
  CREATE UNIQUE INDEX branches_name ON exzo.branches (project_id, name) WHERE deleted_at IS NULL;
  CREATE INDEX branches_expiry ON exzo.branches (expires_at) WHERE deleted_at IS NULL;

  CREATE TABLE exzo.endpoints (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    branch_id text NOT NULL REFERENCES exzo.branches (id),
    name text,
    type text NOT NULL,
    compute_units_minimum double precision NOT NULL,
    compute_units_maximum double precision NOT NULL,
    suspend_timeout_seconds bigint NOT NULL,
    settings jsonb NOT NULL,
    is_disabled boolean NOT NULL,
    state text NOT NULL,
    pending_state text,
    last_active_at timestamptz,
    started_at timestamptz,
    suspended_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz);
  CREATE UNIQUE INDEX endpoints_read_write ON exzo.endpoints (branch_id)
    WHERE deleted_at IS NULL AND type = 'read_write';
  CREATE INDEX endpoints_project ON exzo.endpoints (project_id);
  CREATE INDEX endpoints_state ON exzo.endpoints (state) WHERE deleted_at IS NULL;

  CREATE TABLE exzo.computes (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    branch_id text NOT NULL,
    endpoint_id text NOT NULL REFERENCES exzo.endpoints (id),
    line_id text NOT NULL REFERENCES exzo.lines (id),
    socket_directory text,
    port int,
    pid int,
    started_at timestamptz,
    created_at timestamptz NOT NULL);
  CREATE UNIQUE INDEX computes_endpoint ON exzo.computes (endpoint_id);

  CREATE TABLE exzo.roles (
    branch_id text NOT NULL REFERENCES exzo.branches (id),
    name text NOT NULL,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    can_login boolean NOT NULL,
    is_protected boolean NOT NULL,
    sealed_password bytea,
    scram_verifier text,
    is_dropped boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (branch_id, name));

  CREATE TABLE exzo.databases (
    id bigint PRIMARY KEY,
    branch_id text NOT NULL REFERENCES exzo.branches (id),
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    name text NOT NULL,
    owner_name text NOT NULL,
    is_dropped boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL);
  CREATE UNIQUE INDEX databases_name ON exzo.databases (branch_id, name);
  CREATE SEQUENCE exzo.database_ids;

  CREATE TABLE exzo.operations (
    id text PRIMARY KEY,
    position bigint NOT NULL UNIQUE,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    branch_id text,
    endpoint_id text,
    action text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    steps_done int NOT NULL,
    locks jsonb NOT NULL,
    waits_for jsonb NOT NULL,
    details jsonb NOT NULL,
    error text,
    failures_count int NOT NULL,
    retry_at timestamptz,
    claimed_by text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz);
  CREATE SEQUENCE exzo.operation_positions;
  CREATE INDEX operations_project ON exzo.operations (project_id, position DESC);
  CREATE INDEX operations_unfinished ON exzo.operations (position)
    WHERE status IN ('scheduling', 'running');

  CREATE TABLE exzo.operation_steps (
    operation_id text NOT NULL REFERENCES exzo.operations (id) ON DELETE CASCADE,
    number int NOT NULL,
    name text NOT NULL,
    finished_at timestamptz NOT NULL,
    PRIMARY KEY (operation_id, number));

  CREATE TABLE exzo.leases (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    line_id text NOT NULL,
    lsn pg_lsn NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL);
  CREATE INDEX leases_line ON exzo.leases (line_id);

  CREATE TABLE exzo.snapshots (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    branch_id text NOT NULL,
    line_id text NOT NULL REFERENCES exzo.lines (id),
    lsn pg_lsn NOT NULL,
    moment timestamptz,
    name text NOT NULL,
    is_manual boolean NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz);

  CREATE TABLE exzo.idempotency_keys (
    account_id text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    status int,
    sealed_answer bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, method, path, key));
  CREATE INDEX idempotency_keys_age ON exzo.idempotency_keys (created_at);

  CREATE TABLE exzo.transfer (
    endpoint_id text NOT NULL,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    branch_id text NOT NULL,
    hour timestamptz NOT NULL,
    kind text NOT NULL,
    bytes bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (endpoint_id, hour, kind));

  CREATE TABLE exzo.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    key_id bigint,
    request_id text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    status int NOT NULL,
    created_at timestamptz NOT NULL);
  """
