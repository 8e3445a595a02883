import Foundation

/// A program that runs beside a test, its output in a file.
///
/// Ended by force on deinit, so that no test leaves one behind.
public final class BackgroundProgram {
  private let child: ChildProcess

  public var processIdentifier: pid_t { child.processIdentifier }

  /// - Parameters:
  ///   - arguments: the program, looked up in `PATH`, and its arguments.
  ///   - log: a file that takes standard output and error, added at its end.
  public init(
    _ arguments: [String], environment: [String: String] = [:], log: String
  ) throws {
    // The shell becomes the program: the process id stays.
    child = try ChildProcess(
      ["/bin/sh", "-c", "log=$1; shift; exec \"$@\" >> \"$log\" 2>&1", "sh", log] + arguments,
      environment: environment)
  }

  /// Sends a signal; no error where the program has ended.
  public func signal(_ number: Int32) { kill(child.processIdentifier, number) }

  /// Waits for its end and returns its status, or 128 and the signal's number. Blocks the thread.
  @discardableResult
  public func wait() -> Int32 { child.wait() }
}
