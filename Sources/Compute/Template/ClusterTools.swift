import Foundation

/// Runs the server's own programs on a cluster in an ordinary directory.
struct ClusterTools {
  let installation: PostgresInstallation
  let identity: ProcessIdentity
  /// Holds the cluster as `data`.
  let directory: String

  /// The user that `initdb` runs as: it refuses root, and users without a name.
  static func initdbIdentity() throws -> ProcessIdentity {
    guard getuid() == 0 else { return .current }
    for name in ["postgres", "nobody"] {
      if let entry = getpwnam(name) {
        return ProcessIdentity(uid: entry.pointee.pw_uid, gid: entry.pointee.pw_gid)
      }
    }
    throw ComputeError(
      .environment, "choose a user for initdb: there is neither 'postgres' nor 'nobody'",
      hint: "add a user 'postgres'")
  }

  func initialize() throws {
    try run(
      "initdb",
      [
        "-D", "\(directory)/data", "-U", ServerAccess.superuser, "-k", "-N", "-A", "reject",
        "--locale=C.UTF-8", "-E", "UTF8",
      ])
  }

  /// Runs statements one by one in a single-user server, which needs no authentication and ends
  /// with a
  /// shutdown checkpoint.
  func runSingleUser(_ statements: [String]) throws {
    let output = try run(
      "postgres", ["--single", "-j", "-D", "\(directory)/data", "postgres"],
      input: statements.map { $0 + ";\n\n" }.joined())
    guard !output.contains("ERROR:"), !output.contains("FATAL:") else {
      throw ComputeError(.process, "prepare a fresh cluster: \(output)")
    }
  }

  @discardableResult
  private func run(_ program: String, _ arguments: [String], input: String = "") throws -> String {
    let command = identity.applied(
      to: ProcessCommand(path: "\(installation.binaries)/\(program)", arguments: arguments),
      endsWithUs: false)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: command.path)
    process.arguments = command.arguments
    process.environment = ["LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"]
    process.currentDirectoryURL = URL(fileURLWithPath: "/")
    let (source, sink) = (Pipe(), Pipe())
    process.standardInput = source
    process.standardOutput = sink
    process.standardError = sink
    try process.run()
    try source.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try source.fileHandleForWriting.close()
    let output = String(decoding: sink.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw ComputeError(
        .process, "run \(program): status \(process.terminationStatus): \(output)")
    }
    return output
  }
}

extension PostgresInstallation {
  /// The exact version, such as `15.20`.
  public func version() throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: server)
    process.arguments = ["-V"]
    let sink = Pipe()
    process.standardOutput = sink
    try process.run()
    let text = String(decoding: sink.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard let version = text.split(separator: " ").first(where: { $0.first?.isNumber == true })
    else {
      throw ComputeError(.serverMissing, "ask '\(server)' for its version: it said '\(text)'")
    }
    return version.trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
