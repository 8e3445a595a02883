import Foundation

/// A statement that the server refused, by its SQLSTATE.
public struct StatementFailure: Error, CustomStringConvertible {
  /// Five characters; `08006` where the connection was lost.
  public var sqlState: String
  public var message: String
  public var description: String { "\(sqlState): \(message)" }

  /// The server is going away: the session ends, or its files are gone from under it already.
  public var isConnectionLoss: Bool {
    sqlState.hasPrefix("08") || sqlState.hasPrefix("57P")
      || message.contains("Transport endpoint is not connected")
      || message.contains("Software caused connection abort")
  }
}

/// One long-lived psql: statements go in, their output comes back, the session stays.
///
/// Not safe to use from two threads at once. Every call blocks its thread.
public final class PsqlSession {
  private let process: ChildProcess
  private var unread: [UInt8] = []
  private var round = 0

  public init(_ server: ServerConnection) throws {
    process = try ChildProcess(
      [server.program("psql"), "-AtXq", "-v", "VERBOSITY=verbose", "-d", server.conninfo],
      environment: server.environment, input: .pipe, errors: .output)
    do { try execute("SELECT 1") } catch {
      close()
      throw error
    }
  }

  deinit { close() }

  /// Runs a batch and returns the lines it printed.
  ///
  /// - Throws: ``StatementFailure`` for the first error in the batch. The statements after it were
  ///   sent
  ///   too: inside `BEGIN … COMMIT` that rolls back, so that on throw the transaction left nothing.
  @discardableResult
  public func execute(_ sql: String) throws -> [String] {
    round += 1
    let marker = "--exzo-end-\(round)--"
    do {
      try process.write("\(sql)\n;\n\\echo \(marker)\n")
    } catch {
      throw StatementFailure(sqlState: "08006", message: "psql is gone: \(error)")
    }
    var lines: [String] = []
    while true {
      guard let line = readLine() else {
        throw StatementFailure(
          sqlState: "08006", message: "connection lost: \(lines.suffix(3).joined(separator: " "))")
      }
      if line == marker { break }
      lines.append(line)
    }
    if let failure = Self.firstFailure(in: lines) { throw failure }
    return lines
  }

  /// Ends the session, and with it a transaction that is still open.
  public func close() {
    process.closeInput()
    process.terminate()
  }

  static func firstFailure(in lines: [String]) -> StatementFailure? {
    for line in lines {
      for level in ["ERROR:  ", "FATAL:  ", "PANIC:  "] {
        guard let range = line.range(of: level) else { continue }
        let rest = line[range.upperBound...]
        let state = rest.prefix(5)
        guard rest.dropFirst(5).hasPrefix(": ") else { continue }
        return StatementFailure(sqlState: String(state), message: String(rest.dropFirst(7)))
      }
    }
    return nil
  }

  private func readLine() -> String? {
    while true {
      if let end = unread.firstIndex(of: UInt8(ascii: "\n")) {
        let line = String(decoding: unread[..<end], as: UTF8.self)
        unread.removeFirst(end + 1)
        return line
      }
      let bytes = ChildProcess.read(from: process.output)
      guard !bytes.isEmpty else { return nil }
      unread.append(contentsOf: bytes)
    }
  }
}
