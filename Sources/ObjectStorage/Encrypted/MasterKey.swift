import Crypto
import Foundation

/// The key that wraps all others: kept outside the store, or everything in it is open.
///
/// Whoever loses it loses the data: nothing in the store opens without it.
public struct MasterKey: Sendable, Equatable {
  /// 8 bytes of a hash of the key: tells which one wrapped something, and nothing else.
  public let id: [UInt8]
  let bytes: [UInt8]

  var symmetric: SymmetricKey { SymmetricKey(data: bytes) }

  /// - Parameter bytes: 32 of them.
  init(bytes: [UInt8]) {
    precondition(bytes.count == 32, "a master key of \(bytes.count) bytes")
    self.bytes = bytes
    id = Array(SHA256.hash(data: Array("exzo master key id 1".utf8) + bytes).prefix(8))
  }

  public static func random() -> MasterKey {
    MasterKey(bytes: SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) })
  }

  public var name: String { hexadecimal(id) }
}

/// The master keys at hand: what is new is wrapped with the first; the others still open what they
/// wrapped.
public struct MasterKeys: Sendable {
  public let current: MasterKey
  public let former: [MasterKey]

  public init(current: MasterKey, former: [MasterKey] = []) {
    self.current = current
    self.former = former
  }

  /// With a new key as the current one. All others stay at hand: a second store that has not been copied to
  /// since still needs the ones from before.
  public func rotated() -> MasterKeys {
    MasterKeys(current: .random(), former: [current] + former)
  }

  func key(id: [UInt8]) -> MasterKey? { ([current] + former).first { $0.id == id } }

  private static let word = "exzo-master-key-1"

  /// Lines of `exzo-master-key-1 <base64 of 32 bytes>`, the current key first.
  public var text: String {
    ([current] + former).map { "\(MasterKeys.word) \(base64($0.bytes))\n" }.joined()
  }

  public init(text: String, source: String) throws {
    var keys: [MasterKey] = []
    for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
      let words = line.split(separator: " ")
      guard words.count == 2, words[0] == MasterKeys.word,
        let bytes = Data(base64Encoded: String(words[1])), bytes.count == 32
      else { throw MasterKeys.malformed(source) }
      keys.append(MasterKey(bytes: Array(bytes)))
    }
    guard let current = keys.first else { throw MasterKeys.malformed(source) }
    self.init(current: current, former: Array(keys.dropFirst()))
  }

  private static func malformed(_ source: String) -> ObjectStorageError {
    ObjectStorageError(
      .misconfigured, operation: "read master key", key: source,
      detail: "not lines of '\(word) <base64 of 32 bytes>'",
      hint: "restore your copy of the master key; without it the store's content is lost")
  }
}

/// Where the master key comes from.
public enum MasterKeySource: Sendable, Equatable {
  case file(String)
  /// A shell command that prints what the file would hold.
  case command(String)

  /// Reads the keys. Blocks the thread.
  public func load() throws -> MasterKeys {
    switch self {
    case .file(let path):
      guard let bytes = FileManager.default.contents(atPath: path) else {
        throw ObjectStorageError(
          .unknownKey, operation: "read master key", key: path,
          detail: "there is no such file, or it cannot be read",
          hint: "restore your copy of it; without the master key the store's content is lost")
      }
      return try MasterKeys(text: String(decoding: bytes, as: UTF8.self), source: path)
    case .command(let command):
      let process = Process()
      let output = Pipe()
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments = ["-c", command]
      process.standardOutput = output
      process.standardInput = FileHandle.nullDevice
      do { try process.run() } catch { throw failed(command, "\(error)") }
      let bytes = output.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      guard process.terminationStatus == 0 else {
        throw failed(command, "it ended with status \(process.terminationStatus)")
      }
      return try MasterKeys(text: String(decoding: bytes, as: UTF8.self), source: command)
    }
  }

  private func failed(_ command: String, _ detail: String) -> ObjectStorageError {
    ObjectStorageError(
      .unknownKey, operation: "read master key", key: command, detail: detail,
      hint: "the command must print the master key and end with status 0")
  }
}
