import ObjectStorage
import PostgresFormat

extension LineWriter {
  /// Creates a line and becomes its writer. On return the line can be found and opened.
  /// - Throws: ``HistoryError`` with code `.lineExists` or `.store`.
  public static func create(
    _ description: LineDescription, environment: HistoryEnvironment
  ) async throws -> LineWriter {
    let key = LineKeys(line: description.id).description
    do {
      if try await environment.store.size(key) != nil {
        throw HistoryError(.lineExists, operation: "create line", key: key.name)
      }
      // A creation that failed half way may have left an owner.
      let listed = try await LineOwner.list(on: description.id, store: environment.store)
      let owner = LineOwner(
        epoch: (listed.last?.epoch ?? 0) + 1,
        token: UInt32(truncatingIfNeeded: environment.random()),
        takeoverLSN: description.startLSN, createdAt: environment.now())
      // The owner first: a line that can be seen has one.
      try await owner.put(on: description.id, store: environment.store)
      try await environment.store.put(key, .bytes(description.encodedObject()))
      var contents = LineContents(description: description)
      contents.owners = [owner]
      return LineWriter(contents: contents, owner: owner, environment: environment)
    } catch {
      throw HistoryError.from(error, operation: "create line", key: key.name)
    }
  }

  /// Takes a line over under an epoch higher than any before, and goes on where the store ends.
  ///
  /// A writer of a lower epoch stops within ``ownershipInterval``; what it puts meanwhile beyond
  /// this writer's beginning is ignored by readers.
  /// - Parameter movesBase: whether the caller reads the line's volume over ``volumeBase``, which then becomes
  ///   the newest keyframe that stands alone, where there is one: what only the former base needs may go.
  /// - Throws: ``HistoryError``: `.unknownLine`; `.fenced` where another takes over at the same
  ///   time and wins; `.store`. Where the last chunk cannot be read, the line goes on before it.
  public static func resume(
    _ line: LineID, environment: HistoryEnvironment, movesBase: Bool = false
  ) async throws -> LineWriter {
    var contents = try await LineContents.load(line, store: environment.store)
    // Epochs only rise; a few attempts suffice unless someone takes over in a loop.
    for _ in 0..<8 {
      let own = try await claim(contents, environment, movesBase)
      let listed = try await LineOwner.list(on: line, store: environment.store)
      guard let highest = listed.last else { break }
      if (highest.epoch, highest.token) > (own.epoch, own.token) {
        throw HistoryError(
          .fenced, operation: "take line over", key: highest.key.name,
          detail: "another writer took over at the same time")
      }
      try await contents.refresh(store: environment.store)
      if listed.contains(where: { $0.epoch == own.epoch && $0.token != own.token }) {
        continue  // both would number their objects alike: go on under an epoch of one's own
      }
      return LineWriter(contents: contents, owner: own, environment: environment)
    }
    throw HistoryError(
      .fenced, operation: "take line over", key: LineKeys(line: line).description.name,
      detail: "other writers keep taking over")
  }

  private static func claim(
    _ contents: LineContents, _ environment: HistoryEnvironment, _ movesBase: Bool
  ) async throws -> LineOwner {
    let alone = movesBase ? contents.standaloneKeyframe?.layers : nil
    let owner = LineOwner(
      epoch: (contents.owners.map(\.epoch).max() ?? 0) + 1,
      token: UInt32(truncatingIfNeeded: environment.random()),
      takeoverLSN: contents.uploadedLSN, createdAt: environment.now(),
      base: alone ?? contents.base.layers)
    try await owner.put(on: contents.line, store: environment.store)
    return owner
  }
}
