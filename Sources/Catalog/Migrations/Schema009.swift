/// What dumps take is accounted by the hour, as the sizes of branches are; and whether a branch had a parent then,
/// on which depends what is charged.
let schema009 = """
  ALTER TABLE exzo.usage_hours ADD COLUMN dump_bytes bigint, ADD COLUMN is_child boolean;
  """
