/// A call of an object store that failed: what was being done, to which object, and why.
public struct ObjectStorageError: Error, Sendable, CustomStringConvertible {
  /// The kinds of failure that callers tell apart.
  public enum Code: String, Sendable {
    /// There is no such object.
    case notFound
    /// The range asked for does not lie within the object.
    case outOfRange
    /// The store has no room.
    case noSpace
    /// The store refuses this caller.
    case denied
    /// The store did not answer, or not sensibly; the same call may succeed later.
    case unavailable
    /// What was read back is not what was written.
    case damaged
    /// The key that the object was sealed with is not at hand.
    case unknownKey
    /// The store cannot be used as it was configured.
    case misconfigured
  }

  public var code: Code
  /// Verb and object, such as `put object`.
  public var operation: String
  /// The key or prefix concerned.
  public var key: String
  public var detail: String
  public var cause: (any Error)?
  /// What to do about it.
  public var hint: String

  public init(
    _ code: Code, operation: String, key: String, detail: String = "",
    cause: (any Error)? = nil, hint: String = ""
  ) {
    self.code = code
    self.operation = operation
    self.key = key
    self.detail = detail
    self.cause = cause
    self.hint = hint
  }

  public var description: String {
    var text = "\(operation) '\(key)': \(code.rawValue)"
    if !detail.isEmpty { text += ": \(detail)" }
    if let cause { text += ": \(cause)" }
    if !hint.isEmpty { text += "\nHINT: \(hint)" }
    return text
  }
}
