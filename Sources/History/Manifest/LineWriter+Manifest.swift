import ObjectStorage
import PostgresFormat

extension LineWriter {
  /// Writes a manifest where enough objects have come since the last one.
  ///
  /// A failure is kept in ``manifestFailure`` and not thrown: what was appended is durable, a
  /// manifest only spares readers some listing. It is tried again after a few more objects; a
  /// writer that was fenced learns it from its next append.
  func writeManifestIfDue() async {
    let total = contents.chunks.count + contents.keyframes.count
    guard !isManifestOnItsWay, withdrawn == nil,
      Manifest.isDue(newObjects: newObjects, total: total)
    else { return }
    isManifestOnItsWay = true
    defer { isManifestOnItsWay = false }
    do {
      try await writeManifest()
    } catch {
      manifestFailure = error
      newObjects -= Manifest.spacing / 8
    }
  }

  /// Writes a manifest of all that the line holds, and deletes all but the newest two.
  public func writeManifest() async throws {
    try await manifestGate.run { try await self.writeManifestNow() }
  }

  private func writeManifestNow() async throws {
    try await checkOwnership()
    try await passOverEvicted()
    let listedObjects = newObjects
    let manifest = Manifest(
      line: description.id, number: takeNumber(), lastChunk: listedNumber,
      lastKeyframe: contents.lastKeyframe, chunks: contents.spans().map(\.chunk),
      keyframes: contents.keyframes, base: base)
    let bytes = try await environment.threads.run { try manifest.encodedObject() }
    try await put(manifest.key, .bytes(bytes), "put manifest")
    contents.manifest = manifest.number
    contents.manifestBase = manifest.base
    newObjects -= listedObjects
    manifestFailure = nil
    let listed = try await listAll(
      prefix: keys.manifestPrefix, after: nil, store: environment.store)
    for listing in listed.dropLast(Manifest.keptCount) { try await delete(listing.key) }
  }

  /// Takes in what retention took meanwhile, so that nothing is merged or listed that may be gone.
  func passOverEvicted() async throws {
    var read = contents
    try await read.refreshEvictions(environment.store)
    guard read.evictions != contents.evictions else { return }
    contents.evictions = read.evictions
    contents.removeEvicted()
  }

  func delete(_ key: ObjectKey) async throws {
    do {
      try await environment.store.delete(key)
    } catch {
      throw HistoryError.from(error, operation: "delete", key: key.name)
    }
  }
}
