import Foundation
import Testing

/// `rclone serve s3` over a directory, on loopback: a real S3 server for tests.
///
/// Ended by force on deinit.
public final class ObjectServer: Sendable {
  public static let accessKey = "exzo-test"
  public static let secretKey = "exzo-test-secret"
  public let port: Int
  /// Holds one directory a bucket.
  public let directory: String
  private let program: BackgroundProgramBox

  private final class BackgroundProgramBox: @unchecked Sendable {
    // Touched by `start` and `deinit` only.
    var program: BackgroundProgram?
  }

  /// The server's program: `EXZO_RCLONE`, or where scripts/setup puts it, or in `PATH`.
  public static var executable: String? {
    let environment = ProcessInfo.processInfo.environment
    let home = environment["HOME"] ?? "/root"
    let candidates =
      [environment["EXZO_RCLONE"], "\(home)/.cache/exzo/tools/bin/rclone"].compactMap(\.self)
      + (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/rclone" }
    return candidates.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  /// Starts a server with an empty bucket and returns once it answers.
  public init(directory: String, bucket: String = "bucket", flags: [String] = []) async throws {
    self.directory = directory
    port = try unusedPort()
    program = BackgroundProgramBox()
    guard let executable = Self.executable else {
      throw CommandFailure(description: "no rclone: scripts/setup installs it")
    }
    try FileManager.default.createDirectory(
      atPath: "\(directory)/\(bucket)", withIntermediateDirectories: true)
    program.program = try BackgroundProgram(
      [
        executable, "serve", "s3", "--addr", "127.0.0.1:\(port)", "--auth-key",
        "\(Self.accessKey),\(Self.secretKey)", "--vfs-cache-mode", "off", "--dir-cache-time", "1s",
        "--config", "/dev/null",
      ] + flags + [directory], log: "\(directory)/../rclone.log")
    for _ in 0..<300 {
      if let probe = try? TCPConnection(port: port) {  // refused until the server listens
        probe.close()
        return
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(description: "rclone serve s3 does not listen on port \(port)")
  }

  deinit { stop() }

  public func stop() {
    guard let running = program.program else { return }
    running.signal(SIGKILL)
    running.wait()
    program.program = nil
  }

  public var environment: [String: String] {
    ["AWS_ACCESS_KEY_ID": Self.accessKey, "AWS_SECRET_ACCESS_KEY": Self.secretKey]
  }

  /// - Parameter port: another one, where a proxy stands before the server.
  public func url(bucket: String = "bucket", prefix: String = "", port: Int? = nil) -> String {
    "s3://\(bucket)/\(prefix)?endpoint=http://127.0.0.1:\(port ?? self.port)&region=us-east-1"
  }
}

extension Trait where Self == ConditionTrait {
  public static var needsObjectServer: Self {
    let isMet = ObjectServer.executable != nil
    let isDemanded = ProcessInfo.processInfo.environment["EXZO_TEST_ALL"] == "1"
    return .enabled(
      if: isMet || isDemanded, "needs rclone: scripts/setup installs it, or set EXZO_RCLONE")
  }
}
