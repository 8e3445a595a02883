import CFuse
import Glibc
import Synchronization

/// What libfuse says. It has one log function a process, and tells why a mount failed only there.
enum LibraryLog {
  private static let words = Mutex<[String]>([])
  /// Held by the one mount that is being made, so that the words are its own.
  private static let mounting = Mutex<Void>(())

  struct Captured {
    var text: String { LibraryLog.words.withLock { $0.joined(separator: "; ") } }
  }

  /// Collects what libfuse says while `body` runs. What it says later is dropped: its run-time
  /// messages repeat errors that this target reports itself.
  static func capturing<Result: Sendable>(_ body: (Captured) throws -> Result) throws -> Result {
    try mounting.withLock { _ in
      words.withLock { $0 = [] }
      fuse_set_log_func { _, format, arguments in
        guard let format, let arguments else { return }
        var line = [CChar](repeating: 0, count: 512)
        vsnprintf(&line, line.count, format, arguments)
        let text = String(
          decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        LibraryLog.words.withLock { words in
          if words.count < 8 {
            words.append(String(text.drop(while: { $0 == " " }).prefix { $0 != "\n" }))
          }
        }
      }
      return try body(Captured())
    }
  }
}
