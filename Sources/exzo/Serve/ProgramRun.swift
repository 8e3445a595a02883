import Foundation

/// Runs a program to its end on a thread of its own; what it says goes through a file.
///
/// - Parameters:
///   - input: what it reads.
///   - seconds: how long it may take; then it is killed.
/// - Returns: its status and what it wrote to standard output and error.
func runProgram(
  _ path: String, _ arguments: [String], input: Data = Data(),
  environment: [String: String] = [:], seconds: Double = 3600
) async throws -> (status: Int32, output: String) {
  try await withCheckedThrowingContinuation { continuation in
    let thread = Thread {
      continuation.resume(
        with: Result {
          try runBlocking(path, arguments, input, environment, seconds)
        })
    }
    thread.name = "program"
    thread.start()
  }
}

private func runBlocking(
  _ path: String, _ arguments: [String], _ input: Data, _ environment: [String: String],
  _ seconds: Double
) throws -> (status: Int32, output: String) {
  let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
    "exzo-program-\(UUID().uuidString)")
  try FileManager.default.createDirectory(
    at: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
  defer {
    // What cannot be removed is a temporary file.
    try? FileManager.default.removeItem(at: directory)
  }
  let source = directory.appendingPathComponent("input")
  let output = directory.appendingPathComponent("output")
  try input.write(to: source)
  try Data().write(to: output)
  let process = Process()
  process.executableURL = URL(fileURLWithPath: path)
  process.arguments = arguments
  process.environment = [
    "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "30",
  ]
  .merging(environment) { $1 }
  let sink = try FileHandle(forWritingTo: output)
  process.standardInput = try FileHandle(forReadingFrom: source)
  process.standardOutput = sink
  process.standardError = sink
  try process.run()
  let deadline = Date(timeIntervalSinceNow: seconds)
  while process.isRunning, Date() < deadline { usleep(20_000) }
  if process.isRunning { kill(process.processIdentifier, SIGKILL) }
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: try Data(contentsOf: output), as: UTF8.self))
}
