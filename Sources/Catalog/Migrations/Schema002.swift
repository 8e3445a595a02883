/// Restore in place, snapshots' restores, backup schedules, computes that read the past.
let schema002 = """
  -- The moment's time, where it is known, and whether the line's window goes on into its parent.
  ALTER TABLE exzo.lines
    ADD COLUMN parent_time timestamptz,
    ADD COLUMN inherits_window boolean NOT NULL DEFAULT false;

  ALTER TABLE exzo.branches
    ADD COLUMN restore_status text,
    ADD COLUMN restored_from text,
    ADD COLUMN restored_as text,
    ADD COLUMN last_reset_at timestamptz,
    ADD COLUMN preserved_from text,
    ADD COLUMN is_purged boolean NOT NULL DEFAULT false;
  CREATE INDEX branches_parent ON exzo.branches (parent_id);

  -- The compute of a branch without endpoint: its volume is there, nobody connects.
  ALTER TABLE exzo.computes ALTER COLUMN endpoint_id DROP NOT NULL;

  -- The name that computes may still have it under.
  ALTER TABLE exzo.databases ADD COLUMN renamed_from text;

  CREATE INDEX snapshots_project ON exzo.snapshots (project_id);
  CREATE INDEX snapshots_line ON exzo.snapshots (line_id) WHERE deleted_at IS NULL;
  CREATE INDEX snapshots_expiry ON exzo.snapshots (expires_at) WHERE deleted_at IS NULL;

  CREATE TABLE exzo.backup_schedules (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL REFERENCES exzo.projects (id),
    branch_id text NOT NULL REFERENCES exzo.branches (id),
    position int NOT NULL,
    frequency text NOT NULL,
    hour int,
    day int,
    month int,
    retention_seconds bigint,
    kind text NOT NULL,
    time_zone text NOT NULL,
    next_run_at timestamptz NOT NULL,
    retry_at timestamptz,
    failures_count int NOT NULL,
    last_run_at timestamptz,
    last_run_for timestamptz,
    last_run_status text,
    last_run_error text,
    created_at timestamptz NOT NULL);
  CREATE INDEX backup_schedules_branch ON exzo.backup_schedules (branch_id, position);
  CREATE INDEX backup_schedules_due ON exzo.backup_schedules (next_run_at);

  CREATE TABLE exzo.reading_computes (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    branch_id text NOT NULL,
    line_id text NOT NULL,
    lsn pg_lsn NOT NULL,
    created_at timestamptz NOT NULL);
  """
