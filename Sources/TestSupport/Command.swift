import Foundation

/// A finished command: what it printed and how it ended.
public struct CommandResult: Sendable {
  public var status: Int32
  public var output: String
  public var errorOutput: String
}

public struct CommandFailure: Error, CustomStringConvertible {
  public var description: String
}

/// Runs a program to its end and returns what it printed. Blocks the thread. Throws on a status
/// other than 0 unless `allowFailure`.
@discardableResult
public func run(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil,
  asPostgresUser: Bool = false, allowFailure: Bool = false
) throws -> CommandResult {
  var command = arguments
  if asPostgresUser, getuid() == 0 {
    command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] + command
  }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = command
  process.currentDirectoryURL = URL(fileURLWithPath: "/")
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let output = Pipe()
  let errors = Pipe()
  process.standardOutput = output
  process.standardError = errors
  let source = Pipe()
  process.standardInput = input == nil ? FileHandle.nullDevice as Any : source as Any
  try process.run()
  if let input {
    try source.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try source.fileHandleForWriting.close()
  }
  nonisolated(unsafe) var errorBytes = Data()
  let drained = DispatchSemaphore(value: 0)
  Thread.detachNewThread {
    errorBytes = errors.fileHandleForReading.readDataToEndOfFile()
    drained.signal()
  }
  let outputBytes = output.fileHandleForReading.readDataToEndOfFile()
  drained.wait()
  process.waitUntilExit()
  let result = CommandResult(
    status: process.terminationStatus, output: String(decoding: outputBytes, as: UTF8.self),
    errorOutput: String(decoding: errorBytes, as: UTF8.self))
  guard result.status == 0 || allowFailure else {
    throw CommandFailure(
      description:
        "\(arguments.joined(separator: " ")): status \(result.status)\n\(result.errorOutput)")
  }
  return result
}
