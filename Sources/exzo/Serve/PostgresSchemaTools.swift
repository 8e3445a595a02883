import APITypes
import ControlPlane
import Dumps
import Foundation
import PostgresClient

/// Runs PostgreSQL's own `pg_dump` against computes, as the platform's superuser, over their unix sockets. What it
/// wrote is run by no superuser.
struct PostgresSchemaTools: SchemaTools {
  /// The directory of PostgreSQL's programs.
  let binaries: String
  let dumps: PostgresDumpTools

  /// A schema of more bytes than this is refused.
  private static let longest = 64 << 20

  func dumpSchema(of database: String, on compute: RunningCompute) async throws -> String {
    // --quote-all-identifiers is left out: people read this.
    try await run("pg_dump") {
      [
        "--schema-only", "--no-password",
        "--encoding=\(try dumps.readableEncoding(of: database, on: compute))", "--dbname",
        dumps.connectionString(compute, database, user: dumps.superuser(of: compute)),
      ]
    }
  }

  func copySchema(
    of database: String, from past: RunningCompute, to target: String, on compute: RunningCompute,
    project: String
  ) async throws {
    do {
      try await dumps.copySchema(
        of: database, from: past, to: target, on: compute, project: project)
    } catch let error as DumpError {
      throw SchemaToolError("\(error)")
    }
  }

  func tables(of database: String, on compute: RunningCompute) async throws -> API.BranchSchema {
    do {
      // The database's owner says what else is looked through first.
      return try await compute.onSession(
        database, options: "-c statement_timeout=60s -c search_path=pg_catalog"
      ) { try API.BranchSchema.read($0) }
    } catch let error as PostgresError where error.sqlState == "3D000" {
      throw Self.missing(database)
    }
  }

  private static func missing(_ database: String) -> ControlPlaneError {
    ControlPlaneError(
      .databaseNotFound, "read the schema of '\(database)': there is no such database at the moment"
    )
  }

  private func run(
    _ program: String, _ arguments: @escaping @Sendable () throws -> [String]
  ) async throws -> String {
    let path = "\(binaries)/\(program)"
    let result = try await withCheckedThrowingContinuation { continuation in
      let thread = Thread {
        continuation.resume(with: Result { try Self.runBlocking(path, arguments()) })
      }
      thread.name = program
      thread.start()
    }
    guard result.status == 0 else {
      if result.error.contains("database") && result.error.contains("does not exist") {
        throw Self.missing("the database")
      }
      throw SchemaToolError("\(program): \(result.error.suffix(2000))")
    }
    return result.output
  }

  private struct Output: Sendable {
    var status: Int32
    var output: String
    var error: String
  }

  /// Through files, not pipes: neither side can wait for the other. Blocks its thread.
  private static func runBlocking(_ path: String, _ arguments: [String]) throws -> Output {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
      "exzo-schema-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    defer {
      // What cannot be removed is a temporary file.
      try? FileManager.default.removeItem(at: directory)
    }
    func file(_ name: String, _ bytes: Data) throws -> URL {
      let url = directory.appendingPathComponent(name)
      try bytes.write(to: url)
      return url
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = [
      "PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "30",
    ]
    let output = try file("output", Data())
    let errors = try file("errors", Data())
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    process.waitUntilExit()
    let size = try FileManager.default.attributesOfItem(atPath: output.path)[.size] as? Int ?? 0
    guard size <= longest else {
      throw SchemaToolError("read a schema: it is larger than \(longest >> 20) MB")
    }
    return Output(
      status: process.terminationStatus,
      output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
      error: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
  }
}
