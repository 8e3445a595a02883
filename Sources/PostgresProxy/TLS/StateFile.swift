import Foundation

/// Small files that the proxy makes on first start and keeps.
enum StateFile {
  /// The content of `path`; nil when there is no such file.
  static func read(_ path: String) throws(ProxyStartError) -> [UInt8]? {
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    do {
      return [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      throw ProxyStartError(code: .stateUnreadable, message: "read '\(path)': \(error)")
    }
  }

  /// Replaces `path` whole. On return its bytes and its name are durable; on throw the old file, if
  /// any, is as it was. Never readable beyond `mode`, not even for a moment.
  static func write(
    _ bytes: [UInt8], to path: String, mode: mode_t = 0o600
  ) throws(ProxyStartError) {
    let temporary = "\(path).new"
    unlink(temporary)
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard file >= 0 else { throw failure("create", temporary) }
    defer { close(file) }
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.write(file, buffer.baseAddress?.advanced(by: written), bytes.count - written)
      }
      guard count > 0 else { throw failure("write", temporary) }
      written += count
    }
    guard fsync(file) == 0 else { throw failure("sync", temporary) }
    guard rename(temporary, path) == 0 else { throw failure("rename", temporary) }
    let directory = open((path as NSString).deletingLastPathComponent, O_RDONLY | O_DIRECTORY)
    guard directory >= 0 else { throw failure("open directory of", path) }
    defer { close(directory) }
    guard fsync(directory) == 0 else { throw failure("sync directory of", path) }
  }

  private static func failure(_ verb: String, _ path: String) -> ProxyStartError {
    ProxyStartError(
      code: .stateUnwritable, message: "\(verb) '\(path)': \(String(cString: strerror(errno)))")
  }
}

/// Why the proxy did not start.
public struct ProxyStartError: Error, Sendable, CustomStringConvertible {
  public enum Code: String, Sendable {
    case stateUnreadable = "proxy_state_unreadable"
    case stateUnwritable = "proxy_state_unwritable"
    case certificateInvalid = "proxy_certificate_invalid"
    case listenFailed = "proxy_listen_failed"
    case addressRefused = "proxy_address_refused"
  }

  public var code: Code
  public var message: String
  public var hint: String?

  init(code: Code, message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  public var description: String { hint.map { "\(message)\nHINT: \($0)" } ?? message }
}
