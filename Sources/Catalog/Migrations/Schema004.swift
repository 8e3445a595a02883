/// Dumps.
let schema004 = """
  CREATE TABLE exzo.dumps (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    branch_id text NOT NULL,
    database_name text NOT NULL,
    line_id text NOT NULL,
    lsn pg_lsn NOT NULL,
    moment timestamptz,
    format text NOT NULL,
    jobs int NOT NULL,
    is_manual boolean NOT NULL,
    is_verified_after boolean NOT NULL,
    status text NOT NULL,
    operation_id text NOT NULL,
    progress_bytes bigint NOT NULL DEFAULT 0,
    tables_done bigint NOT NULL DEFAULT 0,
    tables_total bigint NOT NULL DEFAULT 0,
    size_bytes bigint,
    sha256 text,
    verification jsonb,
    error text,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    expires_at timestamptz,
    deleted_at timestamptz,
    removed_at timestamptz);
  CREATE INDEX dumps_project ON exzo.dumps (project_id, created_at DESC);
  CREATE INDEX dumps_line ON exzo.dumps (line_id)
    WHERE deleted_at IS NULL AND status IN ('queued', 'running', 'verifying');
  CREATE INDEX dumps_expiry ON exzo.dumps (expires_at) WHERE deleted_at IS NULL;
  CREATE INDEX dumps_unremoved ON exzo.dumps (created_at) WHERE removed_at IS NULL
    AND (deleted_at IS NOT NULL OR status IN ('failed', 'cancelled'));

  -- Computes on lines of their own that work needs for a while; the row is there before they are.
  CREATE TABLE exzo.scratch_computes (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    operation_id text NOT NULL,
    line_id text NOT NULL,
    parent_line_id text,
    parent_lsn pg_lsn,
    created_at timestamptz NOT NULL);
  CREATE INDEX scratch_computes_operation ON exzo.scratch_computes (operation_id);
  """
