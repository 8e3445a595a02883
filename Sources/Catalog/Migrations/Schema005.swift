/// The journal of changes that goes to the object store, proofs on schedule, alerts.
///
/// Tables whose names begin with `journal_` are the machinery itself: they are not in the journal.
let schema005 = """
  CREATE TABLE exzo.journal_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    operation text NOT NULL,
    key jsonb NOT NULL,
    row jsonb);
  CREATE TABLE exzo.journal_state (name text PRIMARY KEY, value text NOT NULL);

  -- Arguments: the columns of the table's primary key.
  CREATE FUNCTION exzo.note_change() RETURNS trigger LANGUAGE plpgsql AS $body$
  DECLARE
    subject jsonb := CASE TG_OP WHEN 'INSERT' THEN to_jsonb(NEW) ELSE to_jsonb(OLD) END;
  BEGIN
    INSERT INTO exzo.journal_changes (table_name, operation, key, row)
    VALUES (
      TG_TABLE_NAME, lower(TG_OP),
      (SELECT jsonb_object_agg(c, subject -> c) FROM unnest(TG_ARGV) AS c),
      CASE TG_OP WHEN 'DELETE' THEN NULL ELSE to_jsonb(NEW) END);
    RETURN NULL;
  END $body$;

  CREATE TABLE exzo.verifications (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text,
    status text NOT NULL,
    result jsonb NOT NULL,
    error text,
    created_at timestamptz NOT NULL,
    finished_at timestamptz);
  CREATE INDEX verifications_project ON exzo.verifications (project_id, created_at DESC);

  CREATE TABLE exzo.drills (
    id text PRIMARY KEY,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    branch_id text NOT NULL,
    line_id text NOT NULL,
    lsn pg_lsn,
    moment timestamptz,
    scratch_line_id text,
    status text NOT NULL,
    result jsonb NOT NULL,
    error text,
    created_at timestamptz NOT NULL,
    finished_at timestamptz);
  CREATE INDEX drills_branch ON exzo.drills (branch_id, created_at DESC);
  CREATE INDEX drills_project ON exzo.drills (project_id, created_at DESC);

  CREATE TABLE exzo.alerts (
    id text PRIMARY KEY,
    kind text NOT NULL,
    subject text NOT NULL,
    project_id text,
    message text NOT NULL,
    hint text NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    resolved_at timestamptz);
  CREATE UNIQUE INDEX alerts_open ON exzo.alerts (kind, subject) WHERE resolved_at IS NULL;
  CREATE INDEX alerts_age ON exzo.alerts (created_at DESC);

  CREATE TABLE exzo.alert_notices (
    id text PRIMARY KEY,
    alert_id text NOT NULL REFERENCES exzo.alerts (id) ON DELETE CASCADE,
    channel text NOT NULL,
    event text NOT NULL,
    attempts_count int NOT NULL,
    next_attempt_at timestamptz,
    delivered_at timestamptz,
    error text,
    created_at timestamptz NOT NULL);
  CREATE INDEX alert_notices_due ON exzo.alert_notices (next_attempt_at)
    WHERE delivered_at IS NULL;
  """
