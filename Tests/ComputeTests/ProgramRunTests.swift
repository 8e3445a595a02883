import Compute
import Foundation
import TestSupport
import Testing

/// Programs that end, that do not, and what they start.
struct ProgramRunTests {
  private func shell(
    _ script: String, input: Data = Data(), environment: [String: String] = [:],
    seconds: Double = 60
  ) async throws -> ProgramEnd {
    try await runProgram(
      "/bin/sh", ["-c", script], input: input, environment: environment, seconds: seconds)
  }

  /// Whether a process is gone, or waits only for somebody to take notice of its end.
  private func hasEnded(_ pid: String) async throws -> Bool {
    for _ in 0..<100 {
      guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
        stat.split(separator: ")").last?.hasPrefix(" Z") == false
      else { return true }
      try await Task.sleep(for: .milliseconds(50))
    }
    return false
  }

  @Test func aProgramGetsItsInputAndTellsItsStatusAndWords() async throws {
    let end = try await shell(
      "cat; echo \" $WORD\"; echo wrong >&2; exit 3", input: Data("in".utf8),
      environment: ["WORD": "given"])
    #expect(end.status == 3 && end.output == "in given\nwrong\n" && !end.isTimedOut)
    #expect(try await shell("kill -9 $$").status == 137)
    await #expect(throws: ComputeError.self) { _ = try await runProgram("/no/such/program", []) }
  }

  /// It holds descriptors of the program's, which must keep nobody.
  @Test func whatGoesOnInTheBackgroundIsNotWaitedFor() async throws {
    let start = ContinuousClock.now
    let end = try await shell("sleep 300 & echo $!")
    #expect(end.status == 0 && ContinuousClock.now - start < .seconds(60))
    let pid = try #require(Int32(end.output.trimmingCharacters(in: .newlines)))
    #expect(kill(pid, SIGKILL) == 0, "it had been ended")
  }

  @Test func aProgramWhoseTimeIsUpIsKilledWithWhatItStarted() async throws {
    let end = try await shell("sleep 300 & echo $!; wait", seconds: 1)
    #expect(end.isTimedOut && end.status == 137)
    #expect(try await hasEnded(end.output.trimmingCharacters(in: .newlines)))
  }

  @Test func aProgramOfACancelledTaskIsKilledWithWhatItStarted() async throws {
    try await withTemporaryDirectory { directory in
      let task = Task {
        try await shell(
          "sleep 300 & echo $! > \(directory)/new; mv \(directory)/new \(directory)/pid; wait")
      }
      var pid: String?
      for _ in 0..<600 where pid == nil {
        try await Task.sleep(for: .milliseconds(50))
        pid = try? String(contentsOfFile: "\(directory)/pid", encoding: .utf8)
      }
      task.cancel()
      await #expect(throws: CancellationError.self) { _ = try await task.value }
      #expect(try await hasEnded(try #require(pid).trimmingCharacters(in: .newlines)))
    }
  }
}
