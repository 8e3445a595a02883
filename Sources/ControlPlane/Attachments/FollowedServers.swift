import APITypes
import Catalog
import Foundation

/// Servers that an account follows already. To follow one twice would copy it twice, and keep its WAL for two slots.
///
/// An address does not tell: one server has many (`localhost`, `127.0.0.1`, `0x7f.1`), and a new one comes to an old
/// address. Nor does the system identifier alone: a promoted standby or a backup that was restored elsewhere has
/// the first server's, and is a server of its own that may be attached beside it. With the same identifier,
/// a server is taken for one that is followed where
/// - it is at the same address, or
/// - its postmaster began at the same microsecond as the followed one's when that was last looked at, or
/// - the slot of the following is there. `pg_basebackup` brings no slots along, so a standby has none of ours. A copy of
///   all files (a snapshot of the disk) has it, but nobody streams from it there: where WAL comes in from the slot
///   while it is idle here, this is another server.
///
/// What is left: such a copy whose original is away is taken for it, and refused until the original is back or
/// detached. A server whose slot was lost, and that was restarted since, is not recognised under a new address.
struct FollowedServers: Sendable {
  private let description: SourceDescription
  private let account: AccountID
  /// Lines of servers with this identifier whose WAL comes in now.
  private let streaming: Set<CatalogLineID>

  /// - Parameter description: what the server says of itself that is to be attached.
  init(core: Core, account: AccountID, alike description: SourceDescription) async throws {
    self.description = description
    self.account = account
    let records = try await core.catalog.read { try Self.alike(description, account, $0) }
    var streaming: Set<CatalogLineID> = []
    for record in records {
      let status = await core.fleet.followStatus(line: record.lineID.rawValue)
      if status?.isStreaming == true { streaming.insert(record.lineID) }
    }
    self.streaming = streaming
  }

  private static func alike(
    _ description: SourceDescription, _ account: AccountID, _ tx: CatalogTransaction
  ) throws -> [AttachmentRecord] {
    try tx.liveAttachments(of: account).filter {
      $0.source.systemIdentifier == description.systemIdentifier
    }
  }

  /// - Throws: ``ControlPlaneError`` naming the branch that follows the server.
  func refuse(_ server: AttachedServer, _ tx: CatalogTransaction) throws {
    let same = try Self.alike(description, account, tx).first { isSame($0, server) }
    guard let same else { return }
    let branch = try tx.branch(same.branchID)?.name ?? same.branchID.rawValue
    let known = "\(same.host):\(same.port)"
    let address = known == "\(server.host):\(server.port)" ? "" : " as '\(known)'"
    throw ControlPlaneError(
      .attachmentAlreadyExists,
      "attach '\(server.host):\(server.port)': branch '\(branch)' of project '\(same.projectID)' follows this "
        + "server already\(address)",
      hint: "branch from that project; 'exzo attach update' changes how it connects")
  }

  private func isSame(_ record: AttachmentRecord, _ server: AttachedServer) -> Bool {
    if record.host == server.host, record.port == server.port { return true }
    if let began = record.source.startedAt, began == description.startedAt { return true }
    guard let isInUse = description.followers[record.slot] else { return false }
    return isInUse || !streaming.contains(record.lineID)
  }
}
