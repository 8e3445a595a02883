import Foundation

extension Agent {
  /// Makes the compute's control group; what is returned puts a server into it.
  ///
  /// A compute that cannot be limited runs all the same, and says so.
  func limitation() async throws -> @Sendable (pid_t) -> Void {
    guard let group = specification.controlGroup else { return { _ in } }
    let log = log
    do {
      try await blocking { try group.make() }
    } catch {
      log.warning("the compute is not limited", metadata: ["error": "\(error)"])
      return { _ in }
    }
    return { process in
      do { try group.take(process) } catch {
        log.warning("the compute is not limited", metadata: ["error": "\(error)"])
      }
    }
  }
}
