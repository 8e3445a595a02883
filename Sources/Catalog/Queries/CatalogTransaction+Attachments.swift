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

  /// Whether a line is one that followed a server: root lines of an attached server's project.
  public func followsSource(_ line: CatalogLineID?, in project: ProjectID) throws -> Bool {
    guard let line, try attachment(of: project) != nil else { return false }
    return try self.line(line)?.parentID == nil
  }

  public func attachments(in status: AttachmentRecord.Status) throws -> [AttachmentRecord] {
    try select(where: "t.status = $1 ORDER BY t.created_at", .text(status.rawValue))
  }

  /// Those that are not over: their slot is on the server.
  public func liveAttachments() throws -> [AttachmentRecord] {
    try select(where: "t.status IN ('copying', 'following', 'detaching') ORDER BY t.created_at")
  }

  /// Those of an account that are not over.
  public func liveAttachments(of account: AccountID) throws -> [AttachmentRecord] {
    try select(
      where: "t.account_id = $1 AND t.status IN ('copying', 'following', 'detaching')",
      .text(account.rawValue))
  }
}
