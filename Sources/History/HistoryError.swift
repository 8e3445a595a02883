import ObjectStorage
import PostgresFormat

/// Why history could not be read, written or sought, and which object is concerned.
public struct HistoryError: Error, Sendable, CustomStringConvertible {
  /// The kinds of failure that callers tell apart.
  public enum Code: String, Sendable {
    /// An object's bytes are not what was written: checksum, length or structure is wrong.
    case damaged
    /// The object is whole, but it is another one than its key says.
    case wrongObject
    /// An object that history refers to is not in the store.
    case missing
    /// The object was written by a later version of Exzo.
    case unsupportedVersion
    /// The object is encrypted and its key is not at hand: nothing is known of the object itself.
    case unknownKey
    /// The object store failed; see `cause`. The same call may succeed later.
    case store
    /// A local file could not be written or read; see `cause`.
    case localFile
    /// There is no such line in the store.
    case unknownLine
    /// The line exists already.
    case lineExists
    /// A higher writer epoch has taken the line over: this writer must stop.
    case fenced
    /// What was to be appended does not follow what the line holds.
    case notContiguous
    /// WAL is missing inside the range that is needed.
    case gap
    /// The moment lies before the oldest keyframe that is kept.
    case beforeStart
    /// The LSN lies after what the store holds.
    case afterEnd
    /// The time has not come yet.
    case inTheFuture
    /// No undamaged keyframe is left for the moment.
    case keyframeDamaged
    /// A WAL record could not be read where one must be.
    case badWAL
    /// The page of a relation failed its check while a layer was built.
    case badPage
  }

  public var code: Code
  /// Verb and object, such as `read part 3 of layer`.
  public var operation: String
  /// The key of the object concerned, where there is one.
  public var key: String?
  /// The position concerned, where there is one.
  public var lsn: LSN?
  public var detail: String
  public var cause: (any Error)?

  public init(
    _ code: Code, operation: String, key: String? = nil, lsn: LSN? = nil, detail: String = "",
    cause: (any Error)? = nil
  ) {
    self.code = code
    self.operation = operation
    self.key = key
    self.lsn = lsn
    self.detail = detail
    self.cause = cause
  }

  public var description: String {
    var text = operation
    if let key { text += " '\(key)'" }
    if let lsn { text += " at \(lsn)" }
    text += ": \(code.rawValue)"
    if !detail.isEmpty { text += ": \(detail)" }
    if let cause { text += ": \(cause)" }
    return text
  }

  /// Whether it says something of what is stored, and will say it again.
  ///
  /// Neither a store that does not answer nor a key that is not at hand does: whoever passed over an object because
  /// of them would take what is whole for lost.
  var isOfHistory: Bool { code != .store && code != .unknownKey }

  /// Wraps what an object store threw while `key` was concerned.
  static func from(_ error: any Error, operation: String, key: String) -> any Error {
    if error is HistoryError || error is CancellationError { return error }
    return HistoryError(
      code(of: (error as? ObjectStorageError)?.code), operation: operation, key: key, cause: error)
  }

  private static func code(of storage: ObjectStorageError.Code?) -> Code {
    switch storage {
    case .notFound: .missing
    // A range is asked for that the object had when it was written: then it is cut short.
    case .damaged, .outOfRange: .damaged
    case .unknownKey: .unknownKey
    case .noSpace, .denied, .unavailable, .misconfigured, nil: .store
    }
  }
}
