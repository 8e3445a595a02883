import DurableIO
import Foundation
import History
import Logging
import ObjectStorage
import PostgresFormat
import Volume

/// Makes the line that every new project begins as a branch of.
///
/// Purpose: `initdb` takes seconds, a branch does not. Each installation makes one template line
/// for each major version:
/// a fresh cluster with the platform's superuser, data checksums, the database `exzodb` and its
/// owner.
/// On disk: `<data dir>/templates/<major>` names the finished line.
/// Crash: a template that was not finished is made anew under another id.
public struct TemplateBuilder: Sendable {
  /// What the lines of templates name as their project.
  static let project = "template"

  public struct Template: Codable, Sendable, Equatable {
    public var line: String
    public var lsn: LSN
    public var serverVersion: String
  }

  /// Names of what a template holds.
  public static let database = "exzodb"
  public static let owner = "exzodb_owner"

  let dataDirectory: String
  let installation: PostgresInstallation
  let environment: HistoryEnvironment
  let log: Logger

  public init(
    dataDirectory: String, installation: PostgresInstallation, environment: HistoryEnvironment,
    log: Logger
  ) {
    self.dataDirectory = dataDirectory
    self.installation = installation
    self.environment = environment
    self.log = log
  }

  private var record: String { "\(dataDirectory)/templates/\(installation.major)" }

  /// The template, made where there is none yet.
  public func template() async throws -> Template {
    if let bytes = FileManager.default.contents(atPath: record) {
      return try JSONDecoder().decode(Template.self, from: bytes)
    }
    let work = "\(dataDirectory)/templates/work-\(installation.major)"
    try await blocking { try makeCluster(work) }
    let template = try await store(cluster: "\(work)/data", work: work)
    try await blocking {
      try SystemFileSystem().replaceFile(
        record, with: [UInt8](JSONEncoder().encode(template)), operation: "write template record")
      try FileManager.default.removeItem(atPath: work)
    }
    log.info("template made", metadata: ["line": "\(template.line)", "lsn": "\(template.lsn)"])
    return template
  }

  // MARK: The cluster

  private func makeCluster(_ work: String) throws {
    let files = FileManager.default
    if files.fileExists(atPath: work) { try files.removeItem(atPath: work) }
    try files.createDirectory(
      atPath: work, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    let identity = try ClusterTools.initdbIdentity()
    chown(work, identity.uid, identity.gid)
    let tools = ClusterTools(installation: installation, identity: identity, directory: work)
    try tools.initialize()
    try tools.runSingleUser([
      "CREATE ROLE \(Self.owner) NOLOGIN",
      "GRANT pg_read_all_stats, pg_signal_backend TO \(Self.owner)",
      "CREATE DATABASE \(Self.database) OWNER \(Self.owner)",
    ])
  }

  // MARK: The line

  /// Takes the stopped cluster into a volume, and its image and WAL into a new line.
  private func store(cluster: String, work: String) async throws -> Template {
    let major = try postgresMajor(installation.major)
    let version = try await blocking { [installation] in try installation.version() }
    let volumeDirectory = "\(work)/volume"
    let (volume, control) = try await blocking {
      var configuration = VolumeConfiguration(
        directory: volumeDirectory, classification: fileClass(path:kind:))
      configuration.destagesInBackground = false
      let volume = try Volume.open(configuration)
      try DirectoryImport(volume: volume).run(from: cluster)
      try volume.seal()
      return (volume, try ImagePreparation(volume: volume, major: major).controlFile())
    }
    let segment = WALSegment(
      timeline: control.checkpoint.timeline, containing: control.checkpoint.redo,
      size: control.walSegmentSize)
    var environment = environment
    environment.spoolDirectory = work
    let line = LineID(random: environment.random)
    let writer = try await LineWriter.create(
      LineDescription(
        id: line, project: TemplateBuilder.project, startLSN: segment.startLSN,
        timeline: segment.timeline, systemIdentifier: control.systemIdentifier,
        major: installation.major, serverVersion: version,
        segmentSize: UInt32(control.walSegmentSize), createdAt: environment.now()),
      environment: environment)
    let end = try await appendWAL(
      "\(cluster)/pg_wal/\(segment.fileName)", segment, major, control, to: writer, line)
    _ = try await writer.appendKeyframe(
      from: volume.sealedEpochs.map { HistoryEpoch($0) },
      KeyframeParameters(
        timeline: segment.timeline, checkpointLSN: control.checkpointLSN,
        redoLSN: control.checkpoint.redo, consistentLSN: end,
        systemIdentifier: control.systemIdentifier, postgresVersion: version),
      check: pageCheck(hasChecksums: control.hasDataChecksums, limit: end))
    try await blocking { try volume.close() }
    return Template(line: line.rawValue, lsn: end, serverVersion: version)
  }

  /// Stores the one segment that a fresh cluster's recovery needs; returns the end of its last
  /// record.
  private func appendWAL(
    _ path: String, _ segment: WALSegment, _ major: PostgresMajor, _ control: ControlFile,
    to writer: LineWriter, _ line: LineID
  ) async throws -> LSN {
    let chunk = try await blocking {
      let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
      var reader = WALStreamReader(
        format: major, startingAtPage: segment.startLSN, segmentSize: segment.size)
      var records: [(LSN, LSN)] = []
      _ = try reader.feed(bytes, at: segment.startLSN) { records.append(($0.startLSN, $0.endLSN)) }
      var builder = WALChunkBuilder(
        line: line, timeline: segment.timeline,
        systemIdentifier: control.systemIdentifier, startLSN: segment.startLSN,
        time: environment.now())
      let end = reader.lastRecordEnd
      bytes.withUnsafeBytes {
        builder.append(UnsafeRawBufferPointer(rebasing: $0[..<Int(end - segment.startLSN)]))
      }
      for (start, end) in records { builder.observeRecord(start: start, end: end) }
      return builder.finish()
    }
    return try await writer.appendChunk(chunk)
  }
}
