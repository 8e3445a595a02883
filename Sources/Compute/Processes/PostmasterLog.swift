import PostgresFormat

/// What a server said in its log while it came up and went down.
///
/// The lines are those of `xlogrecovery.c`, `xlog.c` and `postmaster.c`; `lc_messages` is `C`.
public struct PostmasterLog: Sendable {
  /// Where replay began; `nil` while nothing was replayed.
  public private(set) var redoStart: LSN?
  /// Start of the last record replayed.
  public private(set) var redoLast: LSN?
  public private(set) var redoWasNotRequired = false
  public private(set) var isReady = false
  /// The last lines, newest last, for error messages.
  public private(set) var recent: [String] = []
  /// The last line of level `FATAL` or `PANIC`.
  public private(set) var fatal: String?

  private static let recentLimit = 20

  public init() {}

  /// Takes in one line without its end.
  public mutating func observe(_ line: String) {
    recent.append(line)
    if recent.count > Self.recentLimit { recent.removeFirst() }
    if let lsn = value(after: "redo starts at ", in: line) { redoStart = lsn }
    if let lsn = value(after: "redo done at ", in: line) { redoLast = lsn }
    if line.contains("LOG:  redo is not required") { redoWasNotRequired = true }
    if line.contains("LOG:  database system is ready to accept connections")
      || line.contains("LOG:  database system is ready to accept read-only connections")
    {
      isReady = true
    }
    if line.contains(" FATAL:  ") || line.contains(" PANIC:  ") {
      // Clients that come too early are told so; that is no failure of the server.
      if !line.contains("the database system is") { fatal = line }
    }
  }

  private func value(after phrase: String, in line: String) -> LSN? {
    guard let range = line.range(of: "LOG:  " + phrase) else { return nil }
    return LSN(String(line[range.upperBound...].prefix { $0.isHexDigit || $0 == "/" }))
  }
}
