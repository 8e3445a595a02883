import APITypes
import Foundation
import PostgresClient

/// Reads schemas out of running computes, and puts them into others. Every call may be repeated.
public protocol SchemaTools: Sendable {
  /// The statements that make the database's objects anew, without data, as `pg_dump --schema-only`
  /// writes them.
  /// - Throws: ``SchemaToolError`` with what the program said.
  func dumpSchema(of database: String, on compute: RunningCompute) async throws -> String
  /// Makes the objects of a database, without rows, in one that is empty and may have another name.
  func copySchema(
    of database: String, from past: RunningCompute, to target: String, on compute: RunningCompute,
    project: String
  ) async throws
  /// Tables with their columns and constraints.
  func tables(of database: String, on compute: RunningCompute) async throws -> API.BranchSchema
}

/// What a program of PostgreSQL's said when it failed.
public struct SchemaToolError: Error, Sendable, CustomStringConvertible {
  public var message: String
  public init(_ message: String) { self.message = message }
  public var description: String { message }
}

/// Stands where no tools were given.
struct NoSchemaTools: SchemaTools {
  private var missing: SchemaToolError {
    SchemaToolError("read a schema: this process has no programs of PostgreSQL's")
  }
  func dumpSchema(of database: String, on compute: RunningCompute) async throws -> String {
    throw missing
  }
  func copySchema(
    of database: String, from past: RunningCompute, to target: String, on compute: RunningCompute,
    project: String
  ) async throws {
    throw missing
  }
  func tables(of database: String, on compute: RunningCompute) async throws -> API.BranchSchema {
    throw missing
  }
}

extension API.BranchSchema {
  /// Reads the tables of a database as the platform's superuser; blocks its thread.
  public static func read(_ connection: PostgresConnection) throws -> API.BranchSchema {
    let result = try connection.query(query)
    guard let text = result.first?[0] else {
      throw SchemaToolError("read the schema: the server answered nothing")
    }
    return try APICoding.decode(API.BranchSchema.self, from: Data(text.utf8))
  }

  private static let query = """
    WITH visible AS (
      SELECT c.oid, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n
      ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ), columns AS (
      SELECT a.attrelid, jsonb_agg(jsonb_build_object(
        'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
        'nullable', NOT a.attnotnull, 'generated', a.attgenerated <> '' OR a.attidentity <> '')
        ORDER BY a.attnum) AS list
      FROM pg_attribute AS a JOIN visible AS v ON v.oid = a.attrelid
      WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
    ), constraints AS (
      SELECT k.conrelid, jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'name', k.conname,
        'type', CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE'
          ELSE 'FOREIGN KEY' END,
        'columns', (SELECT jsonb_agg(a.attname ORDER BY u.place)
          FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
          JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number),
        'referenced_table', CASE WHEN k.contype = 'f' THEN jsonb_build_object(
          'schema', rn.nspname, 'table', r.relname,
          'columns', (SELECT jsonb_agg(a.attname ORDER BY u.place)
            FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
            JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number))
          END)) ORDER BY k.conname) AS list
      FROM pg_constraint AS k JOIN visible AS v ON v.oid = k.conrelid
      LEFT JOIN pg_class AS r ON r.oid = k.confrelid
      LEFT JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
      WHERE k.contype IN ('p', 'u', 'f') GROUP BY k.conrelid
    )
    SELECT jsonb_build_object('tables', coalesce(jsonb_agg(jsonb_build_object(
      'schema', v.nspname, 'name', v.relname, 'columns', coalesce(c.list, '[]'),
      'constraints', coalesce(k.list, '[]')) ORDER BY v.nspname, v.relname), '[]'))::text
    FROM visible AS v LEFT JOIN columns AS c ON c.attrelid = v.oid
    LEFT JOIN constraints AS k ON k.conrelid = v.oid
    """
}
