import Foundation
import PostgresClient

extension CatalogTransaction {
  public func attachment(of project: ProjectID) throws -> AttachmentRecord? {
    try first(where: "t.project_id = $1", .text(project.rawValue))
  }

  /// The attachment whose WAL a line holds, over or not.
  public func attachment(line: CatalogLineID) throws -> AttachmentRecord? {
    try first(where: "t.line_id = $1", .text(line.rawValue))
  }

  public func attachments(in status: AttachmentRecord.Status) throws -> [AttachmentRecord] {
    try select(where: "t.status = $1 ORDER BY t.created_at", .text(status.rawValue))
  }

  /// Nothing follows any more: the machine was lost.
  public func interruptAttachments(_ reason: String, at date: Date) throws {
    try run(
      """
      UPDATE exzo.attachments SET status = 'interrupted', error = $1, updated_at = $2::timestamptz
      WHERE status IN ('copying', 'following', 'detaching')
      """, .text(reason), .init(date))
  }
}
