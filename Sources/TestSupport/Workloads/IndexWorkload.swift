/// One table under every kind of index, one that writes generic WAL among them; each index must find what a
/// sequential scan finds.
public struct IndexWorkload: Workload {
  public let name = "indexes"
  public init() {}

  public let preparation =
    """
    CREATE TABLE item (id bigserial PRIMARY KEY, tags int[], words tsvector, spot point, span int4range,
      label text, code text, made timestamptz);
    CREATE INDEX item_gin_tags ON item USING gin (tags);
    CREATE INDEX item_gin_words ON item USING gin (words) WITH (gin_pending_list_limit = 64);
    CREATE INDEX item_gist_spot ON item USING gist (spot);
    CREATE INDEX item_gist_span ON item USING gist (span);
    CREATE INDEX item_spgist_label ON item USING spgist (label);
    CREATE INDEX item_spgist_spot ON item USING spgist (spot);
    CREATE INDEX item_brin_made ON item USING brin (made) WITH (pages_per_range = 4, autosummarize = on);
    CREATE INDEX item_hash_code ON item USING hash (code);
    CREATE EXTENSION IF NOT EXISTS bloom;
    CREATE INDEX item_bloom_code ON item USING bloom (code, label);
    CREATE INDEX item_part ON item (code) INCLUDE (id) WHERE id % 2 = 0;
    CREATE TABLE item_count (rows bigint NOT NULL);
    INSERT INTO item_count VALUES (0)
    """

  public var checks: [ConsistencyCheck] {
    let questions = [
      "gin tags": "tags @> ARRAY[7]", "gin words": "words @@ 'w3 & w11'::tsquery",
      "gist or spgist spot": "spot <@ box '((100,100),(400,400))'",
      "gist span": "span && int4range(300, 360)", "spgist label": "label ^@ 'a1'",
      "brin made": "made > 'epoch'::timestamptz + interval '500 days'",
      "hash code": "code = 'c17'", "bloom code and label": "code = 'c23' AND label = 'a230'",
      "partial btree": "code > 'c5' AND id % 2 = 0",
    ]
    return [
      ConsistencyCheck(
        "the table has the rows that were counted",
        "SELECT (SELECT count(*) FROM item) = rows FROM item_count")
    ]
      + questions.sorted { $0.key < $1.key }.map { name, condition in
        ConsistencyCheck(
          "\(name) finds what a scan finds",
          """
          SET enable_seqscan = off; SELECT coalesce(sum(id), 0) AS found FROM item WHERE \(condition) \\gset
          SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off;
          SET enable_bitmapscan = off;
          SELECT coalesce(sum(id), 0) = :found FROM item WHERE \(condition)
          """)
      }
  }

  public func perform(_ step: inout WorkloadStep) throws {
    let rows = step.random.pick(5...120)
    let salt = step.random.pick(1...1_000_000)
    let values = """
      ARRAY[(n + \(salt)) % 20, n % 7],
      to_tsvector('simple', 'w' || (n % 9) || ' w' || ((n + \(salt)) % 30)),
      point((n * \(salt)) % 1000, (n + \(salt)) % 1000),
      int4range((n * \(salt)) % 1000, (n * \(salt)) % 1000 + 1 + n % 50), 'a' || (n * \(salt)) % 5000,
      'c' || (n + \(salt)) % 100, 'epoch'::timestamptz + ((n + \(salt)) % 1000) * interval '1 day'
      """
    let columns = "tags, words, spot, span, label, code, made"
    let part = "id % 11 = \(salt % 11) AND id % 4 = \(step.worker % 4)"
    switch step.random.pick(1...6) {
    case 1:
      try step.commit(
        """
        WITH d AS (DELETE FROM item WHERE \(part) RETURNING 1)
        UPDATE item_count SET rows = rows - (SELECT count(*) FROM d)
        """)
    case 2:
      try step.commit(
        "UPDATE item SET (\(columns)) = (SELECT \(values) FROM (SELECT (item.id % 1000)::int AS n) AS x) WHERE \(part)"
      )
    default:
      try step.commit(
        """
        INSERT INTO item (\(columns)) SELECT \(values) FROM generate_series(1, \(rows)) AS n;
        UPDATE item_count SET rows = rows + \(rows)
        """)
    }
    if step.random.oneIn(12) {
      try step.attempt(step.random.oneIn(3) ? "REINDEX TABLE item" : "VACUUM item")
    }
  }
}
