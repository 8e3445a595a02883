import Foundation
import PostgresClient

extension CatalogTransaction {
  /// Claims an idempotency key: `nil` when it is now the caller's, else the row that is there.
  ///
  /// A claim that has no answer after ten minutes is of a request that died with its process.
  public func claim(_ record: IdempotencyRecord) throws -> IdempotencyRecord? {
    try run(
      """
      DELETE FROM exzo.idempotency_keys
      WHERE account_id = $1 AND method = $2 AND path = $3 AND key = $4 AND status IS NULL
        AND created_at < $5::timestamptz - interval '10 minutes'
      """, .text(record.accountID.rawValue), .text(record.method), .text(record.path),
      .text(record.key), .init(record.createdAt))
    let columns = IdempotencyRecord.columns.joined(separator: ", ")
    let result = try run(
      """
      INSERT INTO exzo.idempotency_keys (\(columns))
      SELECT \(columns) FROM jsonb_populate_record(NULL::exzo.idempotency_keys, $1::jsonb)
      ON CONFLICT DO NOTHING
      """, .text(try RecordCoding.json(record)))
    if result.rowsAffected == 1 { return nil }
    return try first(
      where: "t.account_id = $1 AND t.method = $2 AND t.path = $3 AND t.key = $4",
      .text(record.accountID.rawValue), .text(record.method), .text(record.path), .text(record.key)
    )
  }

  public func release(_ record: IdempotencyRecord) throws {
    try run(
      """
      DELETE FROM exzo.idempotency_keys
      WHERE account_id = $1 AND method = $2 AND path = $3 AND key = $4
      """, .text(record.accountID.rawValue), .text(record.method), .text(record.path),
      .text(record.key))
  }

  /// Gives back what requests without an answer had claimed: of a process that is gone.
  @discardableResult
  public func releaseUnansweredClaims() throws -> Int {
    try run("DELETE FROM exzo.idempotency_keys WHERE status IS NULL").rowsAffected
  }

  @discardableResult
  public func expireIdempotencyKeys(before date: Date) throws -> Int {
    try run(
      "DELETE FROM exzo.idempotency_keys WHERE created_at < $1::timestamptz", .init(date)
    ).rowsAffected
  }

  /// Adds a line to the audit log.
  public func audit(_ record: AuditRecord) throws {
    let columns = AuditRecord.columns.joined(separator: ", ")
    try run(
      """
      INSERT INTO exzo.audit_log (\(columns))
      SELECT \(columns) FROM jsonb_populate_record(NULL::exzo.audit_log, $1::jsonb)
      """, .text(try RecordCoding.json(record)))
  }
}
