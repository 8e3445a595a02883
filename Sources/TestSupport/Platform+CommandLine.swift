import Foundation
import Testing

extension Platform {
  /// `exzo` as a user of this platform types it: what it prints, errors behind the rest.
  /// - Parameters:
  ///   - key: of another account than the administrator's.
  ///   - status: with which it must end; `nil` leaves that to the caller.
  @discardableResult
  public func exzo(
    _ arguments: [String], status: Int32? = 0, key: String? = nil, input: String? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> CommandResult {
    let result = try run(
      ["timeout", "300", Platform.program] + arguments,
      environment: [
        "HOME": directory, "EXZO_API_HOST": url(""), "EXZO_API_KEY": try key ?? self.key,
        "TMPDIR": directory,
      ], input: input, allowFailure: true)
    if let status {
      #expect(
        result.status == status, "exzo \(arguments): \(result.output)\(result.errorOutput)",
        sourceLocation: sourceLocation)
    }
    return result
  }
}
