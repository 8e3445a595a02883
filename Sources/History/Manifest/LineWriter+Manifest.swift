import ObjectStorage
import PostgresFormat

extension LineWriter {
  /// Writes a manifest where enough objects have come since the last one.
  func writeManifestIfDue() async throws {
    let total = contents.chunks.count + contents.keyframes.count
    if Manifest.isDue(newObjects: newObjects, total: total) { try await writeManifest() }
  }

  /// Writes a manifest of all that the line holds, and deletes all but the newest two.
  public func writeManifest() async throws {
    try await manifestGate.run { try await self.writeManifestNow() }
  }

  private func writeManifestNow() async throws {
    try await checkOwnership()
    newObjects = 0
    let manifest = Manifest(
      line: description.id, number: takeNumber(), lastChunk: contents.lastChunk,
      lastKeyframe: contents.lastKeyframe, chunks: contents.spans().map(\.chunk),
      keyframes: contents.keyframes)
    let bytes = try await environment.threads.run { try manifest.encodedObject() }
    try await put(manifest.key, .bytes(bytes), "put manifest")
    contents.manifest = manifest.number
    let listed = try await listAll(
      prefix: keys.manifestPrefix, after: nil, store: environment.store)
    for listing in listed.dropLast(Manifest.keptCount) { try await delete(listing.key) }
  }

  func delete(_ key: ObjectKey) async throws {
    do {
      try await environment.store.delete(key)
    } catch {
      throw HistoryError.from(error, operation: "delete", key: key.name)
    }
  }
}
