import Catalog
import Compute
import Foundation
import Logging
import ObjectStorage

/// This installation's hold on its object store, and a recovery from it.
///
/// On disk: `DIR/store-owner` (``StoreOwnership``), `DIR/recovery.json` (``Progress``).
struct StoreHold {
  let options: ServeOptions
  let storage: StoreSetup
  let log: Logger

  static func recordPath(_ dataDirectory: String) -> String { "\(dataDirectory)/store-owner" }
  private static func progressPath(_ options: ServeOptions) -> String {
    "\(options.dataDirectory)/recovery.json"
  }

  var ownership: StoreOwnership {
    StoreOwnership(
      store: storage.catalogStore, recordPath: Self.recordPath(options.dataDirectory))
  }

  /// How far a recovery is; written once its catalog was read, before anything else is done, so that one that
  /// was cut off is gone on with.
  struct Progress: Codable {
    var source: String
    /// Tells the database of this recovery from any other.
    var token: String
    var isFinished = false
    /// Whether the metadata database may hold rows of it; `nil` where an earlier version began it.
    var isFilled: Bool?
  }

  private static func progress(_ options: ServeOptions) throws -> Progress? {
    guard let bytes = try PrivateFile.read(progressPath(options)) else { return nil }
    return try JSONDecoder().decode(Progress.self, from: Data(bytes))
  }

  private static func write(_ progress: Progress, _ options: ServeOptions) throws {
    try PrivateFile.write(
      [UInt8](try JSONEncoder().encode(progress)), to: progressPath(options))
  }

  /// The recovery that is asked for, or was begun; `nil` where there is nothing to recover.
  ///
  /// Nothing is written. A recovery from elsewhere that has come to nothing yet gives way.
  /// - Throws: ``ServeError`` where the data directory is not empty, or holds what was recovered from
  ///   elsewhere.
  static func begin(_ options: ServeOptions) throws -> Progress? {
    let known = try progress(options)
    guard let source = options.recoverFrom else {
      if let known, !known.isFinished {
        throw ServeError(
          "start on '\(options.dataDirectory)': a recovery from '\(known.source)' was not finished",
          hint: "give --recover-from again, and it goes on; nothing is served before its end")
      }
      return nil
    }
    let begun = Progress(source: source, token: UUID().uuidString, isFilled: false)
    if let known {
      if known.source == source { return known.isFinished ? nil : known }
      if !known.isFinished, known.isFilled == false { return begun }
      throw ServeError(
        "recover from '\(source)': this data directory was recovered from '\(known.source)'",
        hint: "recover into an empty --data-dir, or "
          + (known.isFinished
            ? "leave --recover-from out" : "give that source again, and that recovery goes on"))
    }
    // With --metadata-url there is no directory 'metadata', but every start takes the store.
    let traces = ["\(options.dataDirectory)/metadata", recordPath(options.dataDirectory)]
    guard !traces.contains(where: { FileManager.default.fileExists(atPath: $0) }) else {
      throw ServeError(
        "recover into '\(options.dataDirectory)': it holds an installation already",
        hint: "name an empty --data-dir, or leave --recover-from out to serve what is there")
    }
    return begun
  }

  /// Writes down a recovery whose catalog was read. One from elsewhere gives way to it, and with that one its
  /// hold on that store.
  private func note(_ recovery: Progress) throws {
    let known = try Self.progress(options)
    if known?.token == recovery.token { return }
    let record = Self.recordPath(options.dataDirectory)
    if known != nil, FileManager.default.fileExists(atPath: record) {
      try FileManager.default.removeItem(atPath: record)
    }
    try Self.write(recovery, options)
  }

  func finish(_ recovery: Progress) throws {
    var recovery = recovery
    (recovery.isFilled, recovery.isFinished) = (true, true)
    try Self.write(recovery, options)
  }

  /// Takes the store, for a start or a recovery. An installation that another has taken it from ends its
  /// computes: nothing that they write counts any more.
  func claim(recovering: Bool) async throws -> InstallationClaim {
    let notice = InstallationNotice(
      host: ProcessInfo.processInfo.hostName, dataDirectory: options.dataDirectory,
      reason: recovering ? "recovery" : "start", takenAt: Date().timeIntervalSince1970)
    do {
      return try await ownership.claim(
        as: notice, url: options.objectStore, takesOver: recovering)
    } catch let error as CatalogError where error.code == .fenced {
      let fleet = AgentFleet(
        configuration: .init(
          dataDirectory: options.dataDirectory, agentProgram: "", environment: [:]), log: log)
      await JournalService.endComputes(fleet, log)
      throw ServeError(error.message)
    }
  }

  /// Starts the metadata server, reads the catalog from the store and puts it there for a trial.
  ///
  /// Before the store is taken: whoever holds it may be at work, and is not to be fenced off by a recovery
  /// that then cannot be.
  func rehearse(_ recovery: Progress, _ metadata: any MetadataServer) async throws {
    let found = try await RecoveredCatalog.loadWhileWritten(storage.catalogStore)
    try note(recovery)
    try await metadata.start()
    do {
      try await found.rehearse(in: metadata.connectionParameters, token: recovery.token)
    } catch let error as CatalogError where error.code == .server && recovery.isFilled == nil {
      // Earlier versions took their mark out of the database before they wrote down the end.
      throw ServeError(
        "\(error.message)\nHINT: the recovery was begun by an earlier version of Exzo. If it had ended and only "
          + "this was not written down, so that the database holds what was recovered, set \"isFinished\" to "
          + "true in '\(Self.progressPath(options))' and start again")
    }
  }

  /// Reads the catalog from the store as it is now that nobody else writes it, puts the key of passwords in
  /// its place, and fills the metadata database.
  func fill(_ recovery: Progress, _ metadata: any MetadataServer) async throws {
    let recovered = try await RecoveredCatalog.load(storage.catalogStore)
    for warning in recovered.warnings { log.warning("\(warning)") }
    // From here on it is this recovery or none.
    var recovery = recovery
    recovery.isFilled = true
    try Self.write(recovery, options)
    if let digits = recovered.secretKey {
      try PrivateFile.write(Array((digits + "\n").utf8), to: "\(options.dataDirectory)/secret-key")
    }
    try await recovered.restore(into: metadata.connectionParameters, token: recovery.token)
    let time = Date(timeIntervalSince1970: recovered.writtenAt).formatted(.iso8601)
    log.notice("catalog recovered", metadata: ["written": "\(time)"])
  }

  /// The key of passwords, as digits, for the journal.
  func secretKey() throws -> String? {
    try PrivateFile.read("\(options.dataDirectory)/secret-key").map {
      String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }
}
