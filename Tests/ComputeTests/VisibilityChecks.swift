import Foundation
import TestSupport

/// Pages that the visibility map calls visible or frozen for all, looked into by `pg_visibility`.
enum VisibilityCheck {
  /// Rolls prepared transactions back first: before version 17 `pg_check_visible` takes its own snapshot's horizon
  /// for what VACUUM's was, and that one heeds prepared transactions of other databases, which VACUUM does not.
  static func failures(on server: ServerConnection) throws -> [String] {
    let prepared = try server.psql("SELECT database, gid FROM pg_prepared_xacts")
    for line in prepared.split(separator: "\n") {
      let words = line.split(separator: "|", maxSplits: 1).map(String.init)
      try server.with(database: words[0]).psql("ROLLBACK PREPARED '\(words[1])'")
    }
    // One whose DROP has begun at the moment is invalid there, as after a power cut.
    let databases = try server.psql(
      "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2")
    return try databases.split(separator: "\n").flatMap { name in
      try server.with(database: String(name)).psql(
        """
        SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS pg_visibility;
        SELECT current_database(), c.oid::regclass, 'visible', t FROM pg_class c,
          LATERAL pg_check_visible(c.oid) AS t WHERE relkind IN ('r', 'm', 't') AND relpersistence = 'p'
        UNION ALL
        SELECT current_database(), c.oid::regclass, 'frozen', t FROM pg_class c,
          LATERAL pg_check_frozen(c.oid) AS t WHERE relkind IN ('r', 'm', 't') AND relpersistence = 'p'
        """
      ).split(separator: "\n").map(String.init)
    }
  }
}

/// Index-only scans, which believe the visibility map, against the heap.
enum IndexOnlyScanCheck {
  /// Compares, for every B-tree over plain columns of every permanent table, what an index-only scan of it finds
  /// with what a sequential scan finds.
  /// - Returns: what differs, and databases in which no index-only scan was possible.
  static func failures(on server: ServerConnection) throws -> [String] {
    let databases = try server.psql(
      "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2")
    return try databases.split(separator: "\n").flatMap { name in
      let lines = try server.with(database: String(name)).psql(
        "SET client_min_messages = error;\n\(function)\nSELECT * FROM pg_temp.index_only_scans()"
      ).split(separator: "\n").map { "\(name): \($0)" }
      guard let count = lines.last, !count.hasSuffix(": scans 0") else {
        return lines + ["\(name): no index-only scan was made"]
      }
      return lines.dropLast()
    }
  }

  /// Rows: a word for each index that disagrees, then the number of scans.
  private static let function = """
    CREATE FUNCTION pg_temp.index_only_scans() RETURNS SETOF text LANGUAGE plpgsql AS $body$
    DECLARE i record; plan text; line text; query text; found text; expected text; scans int := 0;
    BEGIN
      PERFORM set_config('enable_bitmapscan', 'off', true);
      PERFORM set_config('max_parallel_workers_per_gather', '0', true);
      FOR i IN SELECT x.indrelid::regclass AS heap, x.indexrelid::regclass AS index,
          (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
            FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number) AS columns
        FROM pg_index AS x JOIN pg_class AS t ON t.oid = x.indrelid
        JOIN pg_class AS c ON c.oid = x.indexrelid JOIN pg_am AS m ON m.oid = c.relam
        WHERE x.indisvalid AND x.indexprs IS NULL AND x.indpred IS NULL AND m.amname = 'btree'
          AND t.relkind IN ('r', 'm', 't') AND t.relpersistence = 'p'
          AND t.relnamespace <> 'pg_toast'::regnamespace
      LOOP
        query := format('SELECT count(*) || '' '' || coalesce(sum(hashtextextended(ROW(%s)::text, 0)::numeric), 0)'
          ' FROM ONLY %s', i.columns, i.heap);
        plan := '';
        PERFORM set_config('enable_seqscan', 'off', true);
        PERFORM set_config('enable_indexscan', 'on', true);
        FOR line IN EXECUTE 'EXPLAIN ' || query LOOP plan := plan || line; END LOOP;
        CONTINUE WHEN plan !~ 'Index Only Scan';
        EXECUTE query INTO found;
        PERFORM set_config('enable_seqscan', 'on', true);
        PERFORM set_config('enable_indexscan', 'off', true);
        EXECUTE query INTO expected;
        scans := scans + 1;
        IF found IS DISTINCT FROM expected THEN
          RETURN NEXT format('%s: an index-only scan finds %s, the heap has %s', i.index, found, expected);
        END IF;
      END LOOP;
      RETURN NEXT 'scans ' || scans;
    END $body$;
    """
}
