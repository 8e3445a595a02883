import DurableIO

/// A volume operation that failed. Codes are stable; `VolumeMount` turns them into `errno`.
public struct VolumeError: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Code: String, Sendable {
    case notFound, exists, notDirectory, isDirectory, notEmpty, nameTooLong, invalidArgument
    /// A rename between what is logged and what lives outside history: copy instead (EXDEV).
    case crossesHistory
    case fileTooLarge
    case diskFull
    case inputOutput
    /// A sync failed: nothing written since can be promised any more. Reopen the volume.
    case poisoned
    /// Bytes on disk are not what was written there; the message names file and offset.
    case damaged
    case closed
    /// A handle that was released or belongs to an earlier open.
    case staleHandle
  }

  public var code: Code
  /// Verb and object, lower case.
  public var message: String
  public var cause: FileError?

  public init(_ code: Code, _ message: String, cause: FileError? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  init(_ cause: FileError) {
    self.init(cause.isDiskFull ? .diskFull : .inputOutput, "use volume storage", cause: cause)
  }

  public var description: String {
    cause.map { "\(message): \($0)" } ?? message
  }

  /// Runs `body` and turns a ``FileError`` that leaves it into a volume error.
  static func wrapping<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as FileError { throw VolumeError(error) }
  }
}
