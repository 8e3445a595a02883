import Foundation
import TestSupport
import Testing

/// What stands in the way of `exzo serve`: each reason names the thing, the cause and the way out,
/// and a start that failed leaves nothing running.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct ServeFaultTests {
  @Test func wrongOptionsAreErrorsOfUsageBeforeAnythingIsTouched() async throws {
    try await withTemporaryDirectory { directory in
      let data = "\(directory)/data"
      let cases: [(arguments: [String], words: [String])] = [
        ([], ["--data-dir"]),
        (["--data-dir", data, "--http", "nonsense"], ["--http", "'nonsense'", "HOST:PORT"]),
        (["--data-dir", data, "--postgres", "127.0.0.1:99999"], ["--postgres", "99999", "65535"]),
        (["--data-dir", data, "--config", "/no/such/file"], ["/no/such/file"]),
        (["--data-dir", data, "--frobnicate"], ["--frobnicate"]),
      ]
      for (arguments, words) in cases {
        let result = try exzo(["serve"] + arguments)
        #expect(result.status == 2, "\(arguments): \(result)")
        for word in words { #expect(result.errorOutput.contains(word), "\(arguments): \(result)") }
      }
      let refused: [(arguments: [String], words: [String])] = [
        (["--http", "0.0.0.0:0"], ["0.0.0.0:0", "TLS", "HINT", "--allow-plain"]),
        (["--tls-cert", "/no/cert.pem"], ["--tls-cert", "--tls-key"]),
        (
          ["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"], ["/no/cert.pem", "HINT"]
        ),
        (["--object-store", "ftp://somewhere/x"], ["ftp://somewhere/x", "HINT"]),
        (["--object-store", "relative/path"], ["relative/path", "HINT"]),
      ]
      for (arguments, words) in refused {
        let result = try serve(data, arguments)
        #expect(result.status == 1, "\(arguments): \(result)")
        for word in words { #expect(result.errorOutput.contains(word), "\(arguments): \(result)") }
        #expect(try left(in: data) == [], "\(arguments)")
      }
    }
  }

  @Test func aDataDirectoryThatCannotBeOneIsNamed() async throws {
    try await withTemporaryDirectory { directory in
      try Data("a file".utf8).write(to: URL(fileURLWithPath: "\(directory)/file"))
      for path in ["\(directory)/file", "\(directory)/file/below"] {
        let result = try serve(path)
        #expect(result.status == 1)
        #expect(result.errorOutput.contains("'\(path)'"), "\(result)")
        #expect(result.errorOutput.contains("HINT"), "\(result)")
      }
    }
  }

  @Test func aMachineWithoutFUSEOrPostgresIsToldWhatToInstall() async throws {
    try await withTemporaryDirectory { directory in
      let data = "\(directory)/data"
      let noDevice = """
        mkdir \(directory)/dev && mount --rbind /dev \(directory)/dev && mount -t tmpfs none /dev
        for name in null zero random urandom; do
          touch /dev/$name; mount --bind \(directory)/dev/$name /dev/$name
        done
        mkdir /dev/shm
        """
      let withoutDevice = try serve(data, [], after: noDevice)
      #expect(withoutDevice.status == 1)
      for word in ["'/dev/fuse'", "No such file", "HINT", "modprobe fuse"] {
        #expect(withoutDevice.errorOutput.contains(word), "\(withoutDevice)")
      }
      #expect(try left(in: data) == [])
      let noServer = "mount -t tmpfs none /usr/lib/postgresql"
      let withoutServer = try serve(data, [], after: noServer)
      #expect(withoutServer.status == 1)
      for word in ["PostgreSQL 15", "/usr/lib/postgresql/15/bin", "HINT", "postgresql-15"] {
        #expect(withoutServer.errorOutput.contains(word), "\(withoutServer)")
      }
      #expect(try left(in: data) == [])
    }
  }

  @Test func aPortInUseIsNamedAndNothingIsLeftRunning() async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let listener = try Listener()
      defer { listener.end() }
      for option in ["--http", "--postgres"] {
        let result = try serve("\(directory)/data", [option, "127.0.0.1:\(listener.port)"])
        #expect(result.status == 1, "\(option): \(result)")
        for word in ["127.0.0.1:\(listener.port)", "in use", "HINT", option] {
          #expect(result.errorOutput.contains(word), "\(option): \(word): \(result)")
        }
        #expect(try left(in: "\(directory)/data") == [], "\(option)")
      }
    }
  }

  @Test func aSecondServeNamesTheFirst() async throws {
    try await withPlatform { platform in
      let first = try #require(platform.serve).processIdentifier
      let result = try serve("\(platform.directory)/data")
      #expect(result.status == 1)
      for word in ["another exzo serve", "process \(first)", "HINT", "exzo shutdown"] {
        #expect(result.errorOutput.contains(word), "\(result)")
      }
      #expect(try platform.curl([platform.url("/healthz")]).status == 0)
    }
  }

  // MARK: Running it

  private func exzo(_ arguments: [String]) throws -> CommandResult {
    // A serve that starts nevertheless must not hang the test.
    try run(
      ["timeout", "60", Platform.program] + arguments, environment: ["HOME": "/nonexistent"],
      allowFailure: true)
  }

  /// - Parameter preparation: shell commands in a mount namespace of its own.
  private func serve(
    _ data: String, _ arguments: [String] = [], after preparation: String? = nil
  ) throws -> CommandResult {
    var all = ["serve", "--data-dir", data]
    for (option, address) in [("--http", "127.0.0.1:0"), ("--postgres", "127.0.0.1:0")]
    where !arguments.contains(option) {
      all += [option, address]
    }
    guard let preparation else { return try exzo(all + arguments) }
    return try run(
      [
        "unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
        "set -e\n\(preparation)\nexec timeout 60 \"$@\"", "sh", Platform.program,
      ] + all + arguments, environment: ["HOME": "/nonexistent"], allowFailure: true)
  }

  /// Processes that work in the data directory.
  private func left(in data: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { name in
      guard pid_t(name) != nil else { return false }
      var path = [CChar](repeating: 0, count: Int(PATH_MAX))
      let length = readlink("/proc/\(name)/cwd", &path, path.count - 1)
      let place = String(
        decoding: path[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return place.hasPrefix(data + "/")
    }
  }
}

/// A socket that listens on a port of loopback.
private struct Listener {
  let port: Int
  private let descriptor: Int32

  init() throws {
    port = try unusedPort()
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard code == 0, listen(descriptor, 1) == 0 else {
      throw CommandFailure(description: "listen on port \(port): errno \(errno)")
    }
  }

  func end() { close(descriptor) }
}
