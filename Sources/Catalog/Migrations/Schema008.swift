/// What roles and databases were, once they are gone.
let schema008 = """
  CREATE TABLE exzo.tombstones (
    branch_id text NOT NULL REFERENCES exzo.branches (id),
    kind text NOT NULL,
    name text NOT NULL,
    account_id text NOT NULL,
    plan text NOT NULL,
    project_id text NOT NULL,
    database_id bigint,
    owner_name text,
    is_protected boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (branch_id, kind, name));
  """
