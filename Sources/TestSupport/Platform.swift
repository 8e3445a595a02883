import Foundation
import Glibc

/// A running `exzo serve` over a directory of its own, asked over HTTP as a stranger's client
/// would.
public final class Platform: @unchecked Sendable {
  public let directory: String
  public let httpPort: Int
  public let postgresPort: Int
  public private(set) var serve: BackgroundProgram?
  /// Of serve, after those that every test has.
  private let arguments: [String]
  /// What serve is started from.
  private let program: String
  /// Of the next start of serve.
  public var environment: [String: String]

  /// The program under test, built beside the tests.
  public static var program: String {
    if let named = ProcessInfo.processInfo.environment["EXZO"] { return named }
    return URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("exzo").path
  }

  /// - Parameter ports: of another machine, whose place this one takes.
  public init(
    directory: String, arguments: [String] = [], environment: [String: String] = [:],
    ports: (http: Int, postgres: Int)? = nil, program: String = Platform.program
  ) throws {
    self.directory = directory
    self.program = program
    self.arguments = arguments
    self.environment = environment
    httpPort = try ports?.http ?? unusedPort()
    postgresPort = try ports?.postgres ?? unusedPort()
  }

  /// What starts serve, and in which environment beside this process's own.
  public var command: (words: [String], environment: [String: String]) {
    (
      [
        program, "serve", "--data-dir", "\(directory)/data", "--http",
        "127.0.0.1:\(httpPort)", "--postgres", "127.0.0.1:\(postgresPort)",
      ] + arguments,
      // Tests ask more often than people; the limit has tests of its own.
      [
        "HOME": directory, "EXZO_REQUESTS_PER_MINUTE": "0", "EXZO_COMPUTE_LIMITS": "off",
      ].merging(environment) { $1 }
    )
  }

  public var logFile: String { "\(directory)/serve.log" }

  /// Starts serve.
  public func begin() throws {
    let (words, environment) = command
    serve = try BackgroundProgram(words, environment: environment, log: logFile)
  }

  /// Starts serve and waits until it is ready.
  public func start() async throws {
    try begin()
    for _ in 0..<600 {
      if try curl(["-o", "/dev/null", "-w", "%{http_code}", url("/readyz")]).output == "200" {
        return
      }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw CommandFailure(description: "serve did not get ready:\n\(log)")
  }

  public func kill() throws { end(SIGKILL) }

  /// Ends serve by a signal; computes go on.
  public func end(_ signal: Int32) {
    guard let serve else { return }
    serve.signal(signal)
    serve.wait()
    self.serve = nil
  }

  /// Ends serve and every compute; on a failure it takes them down by force.
  public func shutDown() throws {
    try run([Platform.program, "shutdown", "--data-dir", "\(directory)/data"])
    serve?.wait()
    serve = nil
  }

  public var log: String {
    String(
      decoding: FileManager.default.contents(atPath: logFile) ?? Data(),
      as: UTF8.self)
  }

  public var key: String {
    get throws {
      try String(contentsOfFile: "\(directory)/data/api-key", encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }

  public func url(_ path: String) -> String { "http://127.0.0.1:\(httpPort)\(path)" }

  public func curl(_ arguments: [String], input: String? = nil) throws -> CommandResult {
    try run(["curl", "-sS", "--max-time", "60"] + arguments, input: input, allowFailure: true)
  }

  /// A call of the API: its status and its JSON.
  public func call(
    _ method: String, _ path: String, _ body: String? = nil, key: String? = nil
  ) throws -> Answer {
    var arguments = [
      "-X", method, "-w", "\n%{http_code}", "-H", "Authorization: Bearer \(try key ?? self.key)",
      "-H", "Content-Type: application/json", url("/api/v2" + path),
    ]
    if body != nil { arguments += ["--data-binary", "@-"] }
    let result = try curl(arguments, input: body)
    let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
    guard let status = lines.last.flatMap({ Int($0) }) else {
      throw CommandFailure(description: "\(method) \(path): \(result.output) \(result.errorOutput)")
    }
    let text = lines.dropLast().joined(separator: "\n")
    // Some answers have no body.
    let json = try? JSONSerialization.jsonObject(with: Data(text.utf8))
    return Answer(status: status, json: json as? [String: Any] ?? [:], text: text)
  }

  public struct Answer {
    public var status: Int
    public var json: [String: Any]
    public var text: String

    public subscript(_ path: String) -> Any? {
      path.split(separator: ".").reduce(json as Any?) { value, name in
        if let index = Int(name) { return (value as? [Any])?[index] }
        return (value as? [String: Any])?[String(name)]
      }
    }
    public func string(_ path: String) -> String { self[path] as? String ?? "" }
  }

  /// Waits until no operation of the project is under way; throws for one that failed.
  public func settle(_ project: String) async throws {
    for _ in 0..<1200 {
      let answer = try call("GET", "/projects/\(project)/operations?limit=100")
      let operations = answer["operations"] as? [[String: Any]] ?? []
      if let failed = operations.first(where: { $0["status"] as? String == "failed" }) {
        throw CommandFailure(description: "operation failed: \(failed)\n\(log.suffix(3000))")
      }
      let open = operations.filter {
        !["finished", "skipped", "cancelled"].contains($0["status"] as? String)
      }
      if open.isEmpty { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(description: "operations do not end\n\(log.suffix(3000))")
  }

  /// psql with a connection URI as it stands.
  @discardableResult
  public func psql(_ uri: String, _ sql: String, allowFailure: Bool = false) throws -> CommandResult
  {
    try run(
      ["/usr/lib/postgresql/15/bin/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", uri], input: sql,
      allowFailure: allowFailure)
  }

  /// What psql prints, without the last line's end.
  public func value(_ uri: String, _ sql: String) throws -> String {
    try psql(uri, sql).output.trimmingCharacters(in: .newlines)
  }
}

/// A platform that is down when the closure returns, however it does.
public func withPlatform<Result>(
  arguments: [String] = [], environment: [String: String] = [:],
  program: String = Platform.program, _ body: (Platform) async throws -> Result
) async throws -> Result {
  try await withTemporaryDirectory { directory in
    chmod(directory, 0o711)
    let platform = try Platform(
      directory: directory, arguments: arguments, environment: environment, program: program)
    try await platform.start()
    do {
      let result = try await body(platform)
      try platform.shutDown()
      return result
    } catch {
      print(platform.log.suffix(4000))
      try? platform.shutDown()  // the first error is the one to report
      throw error
    }
  }
}
