import DurableIO
import Synchronization

/// Plain files named by identity: `<directory>/<low byte>/<16 hex digits>`.
///
/// *Concurrency.* All calls from any thread. A file that is removed or drops out of the cache of
/// open files stays
/// readable for whoever holds it.
final class BackingFiles: Sendable {
  private static let openLimit = 256
  let directory: String
  private let files: any FileSystem
  private let open = Mutex<[FileID: any OpenFile]>([:])

  init(directory: String, files: any FileSystem) {
    self.directory = directory
    self.files = files
  }

  func path(_ id: FileID) -> String {
    "\(folder(id))/\(Self.hex(id.rawValue, 16))"
  }

  func folder(_ id: FileID) -> String {
    "\(directory)/\(Self.hex(id.rawValue & 0xFF, 2))"
  }

  /// The file, `nil` where it does not exist.
  func file(_ id: FileID) throws -> (any OpenFile)? {
    if let known = open.withLock({ $0[id] }) { return known }
    do {
      return keep(id, try files.open(path(id), .readWrite, operation: "open backing file"))
    } catch let error as FileError where error.isNotFound {
      return nil
    }
  }

  /// The file, made where it does not exist; its name is not yet durable.
  func makeFile(_ id: FileID) throws -> any OpenFile {
    if let known = try file(id) { return known }
    try files.makeDirectory(folder(id), operation: "create backing file")
    return keep(
      id, try files.open(path(id), .createReadWrite, operation: "create backing file"))
  }

  /// Removes the file if it exists.
  func remove(_ id: FileID) throws {
    open.withLock { _ = $0.removeValue(forKey: id) }
    do {
      try files.unlink(path(id), operation: "remove backing file")
    } catch let error as FileError where error.isNotFound {
      return
    }
  }

  /// Makes the names of files durable.
  func syncFolders(of ids: [FileID]) throws {
    guard !ids.isEmpty else { return }
    for low in Set(ids.map { $0.rawValue & 0xFF }).sorted() {
      try files.syncDirectory(folder(FileID(low)), operation: "sync backing folder")
    }
    try files.syncDirectory(directory, operation: "sync backing folder")
  }

  /// Identities that have a file.
  func identities() throws -> [FileID] {
    var found: [FileID] = []
    for folder in try files.list(directory, operation: "list backing files") {
      for name in try files.list("\(directory)/\(folder)", operation: "list backing files") {
        if let id = UInt64(name, radix: 16) { found.append(FileID(id)) }
      }
    }
    return found
  }

  private func keep(_ id: FileID, _ file: any OpenFile) -> any OpenFile {
    open.withLock { cache in
      if let first = cache[id] { return first }
      if cache.count >= Self.openLimit, let victim = cache.keys.randomElement() {
        cache[victim] = nil
      }
      cache[id] = file
      return file
    }
  }

  static func hex(_ value: UInt64, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }
}
