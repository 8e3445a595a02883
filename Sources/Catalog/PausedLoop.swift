/// Does something again and again, with a pause between, until its task is cancelled.
///
/// What goes wrong is told and does not end it. Blocks nothing; costs nothing in the pauses.
public struct PausedLoop: Sendable {
  public var pause: Duration

  public init(every pause: Duration) { self.pause = pause }

  /// - Parameters:
  ///   - failed: takes each error but that of a cancellation, which ends the loop.
  ///   - round: `true` where there is more to do at once.
  public func run(
    onFailure failed: (any Error) -> Void, _ round: () async throws -> Bool
  ) async {
    while !Task.isCancelled {
      do {
        if try await round() { continue }
      } catch is CancellationError {
        return
      } catch {
        failed(error)
      }
      await rest()
    }
  }

  /// One pause; ended early by a cancellation only.
  public func rest() async {
    // It throws when it is cancelled, which loops see for themselves.
    try? await Task.sleep(for: pause)
  }
}
