import Foundation

/// A finished command: what it printed and how it ended.
public struct CommandResult: Sendable {
  /// The exit status, or 128 + the number of the signal that ended it.
  public var status: Int32
  public var output: String
  public var errorOutput: String
}

public struct CommandFailure: Error, CustomStringConvertible {
  public var description: String

  public init(description: String) { self.description = description }
}

/// Runs a program to its end and returns what it printed. Blocks the thread.
///
/// Reads both streams to their ends, so a program that leaves another behind must give that one
/// other
/// streams (`pg_ctl start -l FILE` does).
/// - Throws: ``CommandFailure`` on a status other than 0 unless `allowFailure`.
@discardableResult
public func run(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil,
  asPostgresUser: Bool = false, allowFailure: Bool = false
) throws -> CommandResult {
  var command = arguments
  if asPostgresUser, getuid() == 0 {
    command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] + command
  }
  let child = try ChildProcess(
    command, environment: environment, input: input == nil ? .null : .pipe)
  nonisolated(unsafe) var errorBytes: [UInt8] = []
  let drained = DispatchSemaphore(value: 0)
  let errorEnd = child.errorOutput
  Thread.detachNewThread {
    errorBytes = readAll(from: errorEnd)
    drained.signal()
  }
  nonisolated(unsafe) let writer = child
  let written = DispatchSemaphore(value: 0)
  Thread.detachNewThread {
    // A program that ends without reading its input tells why by its status.
    if let input { try? writer.write(input) }
    writer.closeInput()
    written.signal()
  }
  let outputBytes = readAll(from: child.output)
  drained.wait()
  written.wait()
  let result = CommandResult(
    status: child.wait(), output: String(decoding: outputBytes, as: UTF8.self),
    errorOutput: String(decoding: errorBytes, as: UTF8.self))
  guard result.status == 0 || allowFailure else {
    throw CommandFailure(
      description:
        "\(arguments.joined(separator: " ")): status \(result.status)\n\(result.errorOutput)")
  }
  return result
}

private func readAll(from end: Int32) -> [UInt8] {
  var all: [UInt8] = []
  while true {
    let bytes = ChildProcess.read(from: end)
    if bytes.isEmpty { return all }
    all += bytes
  }
}
