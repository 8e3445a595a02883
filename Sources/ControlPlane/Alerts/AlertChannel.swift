import APITypes

/// A way to tell the operator.
public protocol AlertChannel: Sendable {
  /// `webhook` or `command`; stored with what is on its way.
  var name: String { get }
  /// Delivers, or throws why it could not: then it is tried again.
  func send(_ message: API.AlertMessage) async throws
}
