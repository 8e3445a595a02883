import Foundation
import PostgresClient

extension CatalogTransaction {
  /// Claims an idempotency key: `nil` when it is now the caller's, else the row that is there.
  ///
  /// A claim that has neither effect nor answer after ten minutes is of a request that is gone: callers claim none
  /// that they are at work on.
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

  /// Notes that what was asked for is done, at least in part: nobody does it again, even where its answer is lost.
  func note(effectOf record: IdempotencyRecord) throws {
    try run(
      """
      UPDATE exzo.idempotency_keys SET status = 0
      WHERE account_id = $1 AND method = $2 AND path = $3 AND key = $4 AND status IS NULL
      """, .text(record.accountID.rawValue), .text(record.method), .text(record.path),
      .text(record.key))
  }

  /// Gives a key back.
  /// - Parameter hadNone: the caller knows that there is no effect; otherwise a claim that is noted to have had one stays.
  public func release(_ record: IdempotencyRecord, hadNone: Bool) throws {
    try run(
      """
      DELETE FROM exzo.idempotency_keys
      WHERE account_id = $1 AND method = $2 AND path = $3 AND key = $4\(hadNone ? "" : " AND status IS NULL")
      """, .text(record.accountID.rawValue), .text(record.method), .text(record.path),
      .text(record.key))
  }

  /// Gives back what requests without effect and answer had claimed: of a process that is gone.
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
