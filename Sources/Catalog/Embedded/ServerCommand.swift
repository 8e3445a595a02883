import CProcess
import Foundation
import Glibc
import PostgresClient

/// Runs one of PostgreSQL's programs as the unprivileged user, with an environment of its own.
struct ServerCommand: Sendable {
  /// The user to become; `nil` stays who we are.
  var user: String?

  /// Runs a program to its end on a thread of its own.
  /// - Returns: its exit status and what it wrote to standard error and output.
  /// - Throws: ``CatalogError`` `.server` where it cannot be started.
  func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
    let command = self.command(arguments)
    return try await withCheckedThrowingContinuation { continuation in
      _ = NamedThread("metadata-run") {
        continuation.resume(with: Result { try Self.execute(command) })
      }
    }
  }

  /// As ``run(_:)``, but a status other than 0 throws what the program said.
  func check(_ arguments: [String], doing action: String) async throws {
    let result = try await run(arguments)
    guard result.status == 0 else {
      let text = result.output.trimmingCharacters(in: .whitespacesAndNewlines)
      throw CatalogError(.server, "\(action): status \(result.status): \(text.suffix(2000))")
    }
  }

  private func command(_ arguments: [String]) -> [String] {
    let entered = ["/usr/bin/env", "-C", "/"]
    guard let user else { return entered + arguments }
    return entered + [
      "/usr/bin/setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups", "--",
    ] + arguments
  }

  /// A server that `pg_ctl` leaves running must inherit nothing: a pipe or socket of ours in its hands would never
  /// reach its end, and nobody could listen where we did. Output goes to an unnamed file for the same reason.
  private static func execute(_ command: [String]) throws -> (Int32, String) {
    let path = "/tmp/exzo-output-\(UUID().uuidString)"
    let output = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard output >= 0 else { throw PrivateFile.failure("make a file in", "/tmp") }
    _ = unlink(path)
    defer { close(output) }
    let arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    let variables = ["PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"]
    let environment: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for pointer in arguments + environment { free(pointer) } }
    var process = pid_t()
    let failure = exzo_spawn(&process, command[0], arguments, environment, output, output, 0)
    guard failure == 0 else {
      throw CatalogError(.server, "run '\(command[0])': \(String(cString: strerror(failure)))")
    }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { throw PrivateFile.failure("wait for", command[0]) }
    }
    // A signal counts as 128 and its number, as in a shell (wait(2)).
    let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    return (code, text(of: output))
  }

  private static func text(of descriptor: Int32) -> String {
    let length = max(0, lseek(descriptor, 0, SEEK_END))
    var bytes = [UInt8](repeating: 0, count: min(length, 65_536))
    let count = pread(descriptor, &bytes, bytes.count, length - bytes.count)
    return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }
}
