import ControlPlane
import Foundation
import ObjectStorage

/// The store itself, where nothing that is kept nearer or elsewhere answers in its place.
public struct CheckedStore: Sendable {
  /// Scratch files of each check lie below it while it goes on.
  private let directory: String
  private let open: @Sendable (String) throws -> any ObjectStore

  public init(directory: String, open: @escaping @Sendable (String) throws -> any ObjectStore) {
    self.directory = directory
    self.open = open
  }

  /// Opens the store for one check.
  public func lend<Value>(
    _ body: (any ObjectStore) async throws -> Value
  ) async throws -> Value {
    let scratch = "\(directory)/\(UUID())"
    try FileManager.default.createDirectory(
      atPath: scratch, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // Of no use afterwards; what a crash leaves goes with the next start.
    defer { try? FileManager.default.removeItem(atPath: scratch) }
    return try await body(try open(scratch))
  }
}

/// Reads what the store holds of a dump, byte by byte.
extension PostgresDumpTools {
  public func check(
    dump: String, project: String, bytesPerSecond: UInt64
  ) async throws -> DumpProof {
    try await storing {
      guard let checkedStore = self.checkedStore else {
        return try await self.proof(of: dump, in: try self.store(project), bytesPerSecond)
      }
      return try await checkedStore.lend { try await self.proof(of: dump, in: $0, bytesPerSecond) }
    }
  }

  private func proof(
    of dump: String, in store: any ObjectStore, _ bytesPerSecond: UInt64
  ) async throws -> DumpProof {
    var proof = DumpProof()
    let manifest: StoredManifest
    do {
      manifest = try await self.manifest(dump, store)
    } catch let error as DumpError {
      proof.objects = 1
      proof.problems = ["dump '\(dump)': object '\(StoredManifest.key(dump))': \(error.message)"]
      return proof
    } catch let error as ObjectStorageError where error.code != .unavailable {
      proof.objects = 1
      proof.problems = ["dump '\(dump)': object '\(StoredManifest.key(dump))': \(error)"]
      return proof
    }
    proof.objects = 1 + manifest.packs.count
    for (number, pack) in manifest.packs.enumerated() {
      let key = manifest.key(ofPack: number, dump)
      let problem = try await Self.problem(of: pack, key, store, bytesPerSecond)
      proof.bytes += pack.size
      if let problem { proof.problems.append("dump '\(dump)': object '\(key)': \(problem)") }
    }
    return proof
  }

  /// What is wrong with a pack; `nil` where nothing is.
  private static func problem(
    of pack: StoredManifest.Pack, _ key: ObjectKey, _ store: any ObjectStore,
    _ bytesPerSecond: UInt64
  ) async throws -> String? {
    do {
      guard let size = try await store.size(key) else { return "it is missing" }
      guard size == UInt64(pack.size) else { return "it has \(size) bytes, not \(pack.size)" }
      // Whole, which passes copies on the local disk by.
      let bytes = try await store.get(key, range: nil)
      for (number, pair) in zip(PackWriter.sums(bytes), pack.sums).enumerated()
      where pair.0 != pair.1 {
        return "it is damaged at \(number * StoredManifest.block): checksum "
          + "\(String(pair.0, radix: 16)), expected \(String(pair.1, radix: 16))"
      }
      try await Task.sleep(for: .seconds(Double(bytes.count) / Double(max(1, bytesPerSecond))))
      return nil
    } catch let error as ObjectStorageError where error.code != .unavailable {
      return "\(error)"
    }
  }
}
