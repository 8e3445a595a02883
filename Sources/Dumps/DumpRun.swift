import APITypes
import ControlPlane
import Crypto
import DurableIO
import Foundation
import ObjectStorage
import PostgresClient

/// The SHA-256 of a stream.
public struct DumpSum {
  private var state = SHA256()

  mutating func add(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { state.update(bufferPointer: $0) }
  }

  var hexadecimal: String {
    state.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// Of a whole file; blocks its thread.
  /// - Throws: the file's errors.
  public static func hexadecimal(ofFile path: String) throws -> String {
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    var sum = DumpSum()
    while let bytes = try file.read(upToCount: 1 << 20), !bytes.isEmpty { sum.add(Array(bytes)) }
    try file.close()
    return sum.hexadecimal
  }
}

/// One run of `pg_dump` into the object store; blocks its thread.
struct DumpRun {
  let tools: PostgresDumpTools
  let order: DumpOrder
  let compute: RunningCompute
  let store: any ObjectStore
  let directory: String
  let progress: @Sendable (API.DumpProgress) async throws -> Void

  private static let tick: Int32 = 50

  func run() throws -> StoredManifest {
    let source = try SourceRead(tools: tools, compute: compute, database: order.database).run()
    let writer = PackWriter(store, dump: order.id)
    do {
      try dump(source, writer)
      try writer.finish()
    } catch {
      writer.abandon()
      throw error
    }
    let manifest = StoredManifest(
      dump: order.id, attempt: writer.attempt, format: order.format, source: source,
      createdAt: Date(), packs: writer.packs, files: writer.files)
    let bytes = try manifest.encodedObject()
    try waitFor { [store, order] in try await store.put(StoredManifest.key(order.id), .bytes(bytes))
    }
    return manifest
  }

  private func dump(_ source: DumpSource, _ writer: PackWriter) throws {
    let meter = ProgressMeter(
      log: "\(directory)/errors", total: source.tables, writer: writer, report: progress)
    try meter.report(always: true)
    if order.format == .directory {
      try dumpDirectory(source, writer, meter)
      // Beside the archive's files; pg_restore reads none that it does not know.
      let file = writer.add(file: "globals.sql")
      try Array(source.globals.utf8).withUnsafeBytes { try writer.append($0, to: file) }
    } else {
      try dumpStream(source, writer, meter)
    }
    try meter.report(always: true)
  }

  private func arguments(_ format: String, _ source: DumpSource) -> [String] {
    [
      // Not what the database's `client_encoding` says, which may not take what is in it.
      "--format=\(format)", "--encoding=\(source.encoding)", "--verbose", "--no-password",
      "--dbname",
      tools.connectionString(compute, order.database, user: tools.superuser(of: compute)),
    ]
  }

  /// Custom and plain come through a pipe.
  private func dumpStream(_ source: DumpSource, _ writer: PackWriter, _ meter: ProgressMeter) throws
  {
    let pipe = try ProgramPipe()
    let program = try ChildProgram(
      "\(tools.binaries)/pg_dump", arguments(order.format.rawValue, source), output: pipe.writing,
      errors: meter.log)
    pipe.closeWriting()
    do {
      let file = writer.add(file: "archive")
      while true {
        if let bytes = try pipe.read(milliseconds: 500) {
          if bytes.isEmpty { break }
          try bytes.withUnsafeBytes { try writer.append($0, to: file) }
        }
        try meter.report()
      }
      try program.check("dump database '\(order.database)'")
    } catch {
      program.end()
      throw error
    }
  }

  private func dumpDirectory(_ source: DumpSource, _ writer: PackWriter, _ meter: ProgressMeter)
    throws
  {
    let path = "\(directory)/archive"
    let spool = DirectorySpool(path, into: writer, limit: tools.spoolLimit)
    let program = try ChildProgram(
      "\(tools.binaries)/pg_dump",
      arguments("directory", source) + ["--file", path, "--jobs", "\(order.jobs)", "--no-sync"],
      errors: meter.log)
    do {
      while program.poll() == nil {
        try spool.collect(from: program, isLast: false)
        try meter.report()
        usleep(UInt32(Self.tick) * 1000)
      }
      try program.check("dump database '\(order.database)'")
      try spool.collect(from: program, isLast: true)
    } catch {
      program.end()
      throw error
    }
  }
}

/// Tells now and then how far a dump is.
final class ProgressMeter {
  /// What the program says, table by table.
  let log: String
  private let total: Int
  private let writer: PackWriter
  private let callback: @Sendable (API.DumpProgress) async throws -> Void
  private var last: ContinuousClock.Instant?
  private var position: UInt64 = 0
  private var rest = ""
  private var done = 0

  init(
    log: String, total: Int, writer: PackWriter,
    report: @escaping @Sendable (API.DumpProgress) async throws -> Void
  ) {
    self.log = log
    self.total = total
    self.writer = writer
    callback = report
  }

  /// - Throws: what the callback throws: the dump is to end.
  func report(always: Bool = false) throws {
    let now = ContinuousClock.now
    if let last, !always, now - last < .seconds(1) { return }
    last = now
    try count()
    let progress = API.DumpProgress(
      bytes: writer.bytes, tablesDone: min(done, total), tablesTotal: total)
    try waitFor { [callback] in try await callback(progress) }
  }

  private func count() throws {
    guard let handle = FileHandle(forReadingAtPath: log) else { return }
    defer {
      // It was only read.
      try? handle.close()
    }
    try handle.seek(toOffset: position)
    let data = try handle.readToEnd() ?? Data()
    position += UInt64(data.count)
    let lines = (rest + String(decoding: data, as: UTF8.self)).split(
      separator: "\n", omittingEmptySubsequences: false)
    rest = lines.last.map(String.init) ?? ""
    done += lines.dropLast().count {
      $0.contains("dumping contents of table")
        || $0.contains("finished item") && $0.contains("TABLE DATA")
    }
  }
}
