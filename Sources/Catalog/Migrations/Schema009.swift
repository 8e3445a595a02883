/// What dumps take is accounted by the hour, as the sizes of branches are.
let schema009 = """
  ALTER TABLE exzo.usage_hours ADD COLUMN dump_bytes bigint;
  """
