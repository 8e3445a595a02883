import CFuse
import Glibc
import Logging
import Synchronization
import Volume

/// A request that this target refuses before it reaches the volume.
enum Refusal: Error {
  /// A name that is no UTF-8: the tree could not give it back.
  case notText
  case notPermitted
  case notSupported
  case invalid
  case tooLarge
  case system(Int32)

  var number: Int32 {
    switch self {
    case .notText: EILSEQ
    case .notPermitted: EPERM
    case .notSupported: EOPNOTSUPP
    case .invalid: EINVAL
    case .tooLarge: EFBIG
    case .system(let code): code
    }
  }
}

extension VolumeError {
  var number: Int32 {
    switch code {
    case .notFound: ENOENT
    case .exists: EEXIST
    case .notDirectory: ENOTDIR
    case .isDirectory: EISDIR
    case .notEmpty: ENOTEMPTY
    case .nameTooLong: ENAMETOOLONG
    case .invalidArgument: EINVAL
    case .crossesHistory: EXDEV
    case .fileTooLarge: EFBIG
    case .diskFull: ENOSPC
    case .staleHandle: EBADF
    case .inputOutput, .poisoned, .damaged, .closed: EIO
    }
  }

  /// Whether the caller asked for something impossible, as opposed to something having failed here.
  var isOrdinary: Bool {
    switch code {
    case .inputOutput, .poisoned, .damaged, .closed, .diskFull: false
    default: true
    }
  }
}

/// Logs failures of requests, at most one a second: a full disk fails thousands.
final class FailureLog: Sendable {
  private struct State {
    var last: ContinuousClock.Instant?
    var suppressed = 0
  }
  private let state = Mutex(State())
  private let logger: Logger

  init(logger: Logger) { self.logger = logger }

  func report(_ error: any Error, path: String) {
    let suppressed: Int? = state.withLock { state in
      let now = ContinuousClock.now
      if let last = state.last, now - last < .seconds(1) {
        state.suppressed += 1
        return nil
      }
      defer { state = State(last: now) }
      return state.suppressed
    }
    guard let suppressed else { return }
    logger.error(
      "answering a file request with an error",
      metadata: ["error": "\(error)", "mount": "\(path)", "unlogged": "\(suppressed)"])
  }
}

extension MountSession {
  /// The system's number for a failure; what is not the caller's own doing is logged.
  func errorNumber(_ error: any Error) -> Int32 {
    switch error {
    case let refusal as Refusal: return refusal.number
    case let error as VolumeError:
      if !error.isOrdinary { failures.report(error, path: path) }
      return error.number
    default:
      failures.report(error, path: path)
      return EIO
    }
  }
}
