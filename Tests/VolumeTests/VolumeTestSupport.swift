import DurableIO
import Glibc
import TestSupport
import Testing

@testable import Volume

/// Classes as a mount would give them, in small.
@Sendable func testClassification(_ path: String, _ kind: FileKind) -> FileClass {
  if path.hasPrefix("scratch/") || path == "postmaster.pid" { return .outsideHistory }
  if path.hasPrefix("base/"), kind == .regular {
    return FileClass(hasAtomicBlocks: true, firstBlock: 0)
  }
  if path == "global/pg_control" { return FileClass(isObserved: true) }
  return .persistent
}

func testConfiguration(_ directory: String) -> VolumeConfiguration {
  var configuration = VolumeConfiguration(
    directory: directory, classification: testClassification)
  configuration.segmentSize = 1 << 20
  configuration.destagesInBackground = false
  return configuration
}

extension Volume {
  func write(_ file: FileID, at offset: UInt64, _ bytes: [UInt8], handle: OpenHandle? = nil) throws
  {
    try bytes.withUnsafeBytes { try write(file, at: offset, $0, handle: handle) }
  }

  func read(_ file: FileID, at offset: UInt64, count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, read in
      read = try self.read(file, at: offset, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }

  /// Every path with its content or link target, directories as nil.
  func contents() throws -> [String: [UInt8]?] {
    var found: [String: [UInt8]?] = [:]
    func walk(_ id: FileID, _ path: String) throws {
      for entry in try list(id) {
        let below = path.isEmpty ? entry.name : "\(path)/\(entry.name)"
        switch entry.kind {
        case .directory:
          found.updateValue(nil, forKey: below)
          try walk(entry.id, below)
        case .regular: found[below] = try readFile(below)
        case .symbolicLink: found[below] = Array(try readLink(entry.id).utf8)
        }
      }
    }
    try walk(.root, "")
    return found
  }
}

/// Equality at the speed of `memcmp`, which `==` on arrays does not have in debug builds.
func same(_ a: [UInt8], _ b: [UInt8]) -> Bool {
  a.count == b.count && (a.isEmpty || memcmp(a, b, a.count) == 0)
}

func same(_ a: [String: [UInt8]], _ b: [String: [UInt8]]) -> Bool {
  a.count == b.count && a.allSatisfy { path, bytes in b[path].map { same(bytes, $0) } ?? false }
}

func page(_ fill: UInt8) -> [UInt8] { [UInt8](repeating: fill, count: blockSize) }
