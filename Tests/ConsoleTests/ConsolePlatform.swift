import Foundation
import TestSupport
import Testing

/// A running `exzo serve` with a project that has a past, and a browser to look at it with.
final class ConsolePlatform {
  let directory: String
  let port: Int
  private let postgresPort: Int
  private var serve: BackgroundProgram?

  init(directory: String) throws {
    self.directory = directory
    port = try Self.freePort()
    postgresPort = try Self.freePort()
  }

  static func with(_ body: (ConsolePlatform) async throws -> Void) async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let platform = try ConsolePlatform(directory: directory)
      try await platform.start()
      do {
        try await body(platform)
        try platform.shutDown()
      } catch {
        print(platform.log.suffix(4000))
        try? platform.shutDown()  // the first error is the one to report
        throw error
      }
    }
  }

  private func start() async throws {
    serve = try BackgroundProgram(
      [
        Self.program, "serve", "--data-dir", "\(directory)/data", "--http", "127.0.0.1:\(port)",
        "--postgres", "127.0.0.1:\(postgresPort)",
      ],
      environment: [
        "HOME": directory, "EXZO_REQUESTS_PER_MINUTE": "0", "EXZO_COMPUTE_LIMITS": "off",
      ],
      log: "\(directory)/serve.log")
    for _ in 0..<600 {
      if try call("GET", "/readyz", isAPI: false).status == 200 { return }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw CommandFailure(description: "serve did not get ready:\n\(log)")
  }

  private func shutDown() throws {
    try run([Self.program, "shutdown", "--data-dir", "\(directory)/data"])
    serve?.wait()
    serve = nil
  }

  static var program: String {
    if let named = ProcessInfo.processInfo.environment["EXZO"] { return named }
    return URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("exzo").path
  }

  var url: String { "http://127.0.0.1:\(port)" }

  var log: String {
    String(
      decoding: FileManager.default.contents(atPath: "\(directory)/serve.log") ?? Data(),
      as: UTF8.self)
  }

  var key: String {
    get throws {
      try String(contentsOfFile: "\(directory)/data/api-key", encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }

  /// An answer's status and members.
  struct Answer {
    var status: Int
    var text: String
    var object: [String: Any] {
      // What is no object has no members.
      (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any] ?? [:]
    }

    subscript(_ path: String) -> Any? {
      path.split(separator: ".").reduce(object as Any?) { value, name in
        if let index = Int(name) { return (value as? [Any])?[index] }
        return (value as? [String: Any])?[String(name)]
      }
    }
    func string(_ path: String) -> String { self[path] as? String ?? "" }
  }

  func call(
    _ method: String, _ path: String, _ body: String? = nil, isAPI: Bool = true,
    headers: [String] = []
  ) throws -> Answer {
    var arguments = ["curl", "-sS", "--max-time", "60", "-X", method, "-w", "\n%{http_code}"]
    if isAPI { arguments += ["-H", "Authorization: Bearer \(try key)"] }
    arguments += headers.flatMap { ["-H", $0] } + ["\(url)\(isAPI ? "/api/v2" : "")\(path)"]
    if body != nil { arguments += ["--data-binary", "@-"] }
    let result = try run(arguments, input: body, allowFailure: true)
    let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
    return Answer(
      status: lines.last.flatMap { Int($0) } ?? 0, text: lines.dropLast().joined(separator: "\n"))
  }

  /// Waits until no operation of the project is under way.
  func settle(_ project: String) async throws {
    for _ in 0..<1200 {
      let answer = try call("GET", "/projects/\(project)/operations?limit=100")
      let operations = answer["operations"] as? [[String: Any]] ?? []
      if let failed = operations.first(where: { $0["status"] as? String == "failed" }) {
        throw CommandFailure(description: "operation failed: \(failed)\n\(log.suffix(3000))")
      }
      if operations.allSatisfy({
        ["finished", "skipped", "cancelled"].contains($0["status"] as? String)
      }) {
        return
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(description: "operations do not end\n\(log.suffix(3000))")
  }

  @discardableResult
  func psql(_ uri: String, _ sql: String) throws -> String {
    try run(
      ["/usr/lib/postgresql/15/bin/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", uri], input: sql
    ).output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static func freePort() throws -> Int {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        bind(listener, generic, length) == 0 && getsockname(listener, generic, &length) == 0
      }
    }
    guard isBound else { throw CommandFailure(description: "find a free port") }
    return Int(UInt16(bigEndian: address.sin_port))
  }
}
