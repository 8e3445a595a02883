import ObjectStorage
import PostgresFormat

/// Reads all that the store holds of a line and says what is wrong with it.
///
/// Checks every part of every object, every record's CRC, that WAL is whole, that what keyframes and
/// manifests refer to is there, and that the moments that are promised can be found.
public struct LineVerifier: Sendable {
  /// What was looked at, and what is wrong.
  public struct Report: Sendable, Codable, Equatable {
    public var objects = 0
    public var bytes: UInt64 = 0
    /// Moments that were sought.
    public var moments = 0
    /// Each names its object.
    public var problems: [String] = []

    public static func += (a: inout Report, b: Report) {
      a.objects += b.objects
      a.bytes += b.bytes
      a.moments += b.moments
      a.problems += b.problems
    }
  }

  /// What is promised of a line, at one time.
  public struct Promise: Sendable, Equatable {
    public var moments: [LSN]
    /// The oldest time that is promised; `nil` promises no window.
    public var windowStart: PostgresTimestamp?

    public init(moments: [LSN] = [], windowStart: PostgresTimestamp? = nil) {
      self.moments = moments
      self.windowStart = windowStart
    }

    var isEmpty: Bool { moments.isEmpty && windowStart == nil }
    var targets: [SeekTarget] {
      var targets: [SeekTarget] = [.head] + moments.map { .lsn($0) }
      if let windowStart { targets.append(.time(windowStart)) }
      return targets
    }
  }

  private let store: any ObjectStore
  /// Gets the bytes that were read, and may take its time.
  private let throttle: @Sendable (UInt64) async throws -> Void
  /// Stored bytes that are read at a time.
  private static let readSize: UInt64 = 4 << 20

  public init(
    store: any ObjectStore, throttle: @escaping @Sendable (UInt64) async throws -> Void = { _ in }
  ) {
    self.store = store
    self.throttle = throttle
  }

  /// Checks a line of which the same is promised all the time; see ``verify(_:promised:)``.
  public func verify(
    _ line: LineID, moments: [LSN], windowStart: PostgresTimestamp?
  ) async throws -> Report {
    try await verify(line) { Promise(moments: moments, windowStart: windowStart) }
  }

  /// - Parameter promised: reads what is promised at the time of the call; `nil` where nothing is. Asked when all
  ///   has been read, which may take hours, and again before a problem with it is told.
  /// - Throws: ``HistoryError`` `.store` where the store does not answer, `.unknownKey` where its master key is not
  ///   at hand, and what `promised` throws; what is wrong with the line is in the report. A line that is gone, and
  ///   that nobody needs, has no problem.
  public func verify(
    _ line: LineID, promised: () async throws -> Promise?
  ) async throws -> Report {
    var report = Report()
    let keys = LineKeys(line: line)
    let listed = try await listAll(prefix: keys.prefix, after: nil, store: store)
    for object in listed {
      guard let kind = LineVerifier.kind(of: object.key, keys) else { continue }
      report.objects += 1
      report.bytes += object.size
      let problem = try await self.problem { try await read(object, kind) }
      if let problem { report.problems.append(problem) }
    }
    let sizes = Dictionary(
      listed.map { ($0.key, $0.size) }, uniquingKeysWith: { first, _ in first })
    var chain = Report()
    let problem = try await self.problem {
      let history = try await LineHistory.open(line, store: store)
      try await check(history, sizes, keys, &chain, known: report.problems)
      try await seek(line, promised, &chain)
    }
    report += chain
    if let problem { report.problems.append(problem) }
    if !report.problems.isEmpty, try await isRemoved(line, promised) { report.problems = [] }
    return report
  }

  /// Whether the line has left the store and nothing of it is promised any more: then what was missing went rightly.
  private func isRemoved(
    _ line: LineID, _ promised: () async throws -> Promise?
  ) async throws -> Bool {
    if try await size(LineKeys(line: line).description) != nil { return false }
    let promise = try await promised() ?? Promise()
    return promise.isEmpty
  }

  /// Runs a check and returns what it threw: what is wrong.
  private func problem(_ body: () async throws -> Void) async throws -> String? {
    do { try await body() } catch let error as HistoryError where error.isOfHistory {
      // Deleted since it was listed, by whoever merged it into another: read from there, if it counts.
      return error.code == .missing && isMerged(error) ? nil : error.description
    }
    return nil
  }

  private func isMerged(_ error: HistoryError) -> Bool { error.operation == "read listed object" }

  private static func kind(of key: ObjectKey, _ keys: LineKeys) -> Envelope.Kind? {
    let kinds: [(String, Envelope.Kind)] = [
      (keys.walPrefix, .walChunk), (keys.layerPrefix, .layer), (keys.keyframePrefix, .keyframe),
      (keys.manifestPrefix, .manifest), (keys.ownerPrefix, .owner),
      (keys.evictionsPrefix, .evictions),
    ]
    if key == keys.description { return .line }
    return kinds.first { key.name.hasPrefix($0.0) }?.1
  }

  private func read(_ object: ObjectListing, _ kind: Envelope.Kind) async throws {
    let envelope: StoredEnvelope
    do {
      envelope = try await StoredEnvelope(object.key, size: object.size, kind: kind, store: store)
    } catch let error as HistoryError where error.code == .missing {
      throw HistoryError(.missing, operation: "read listed object", key: object.key.name)
    }
    try await readHeader(object, kind)
    let directory = envelope.directory
    var first = 0
    while first < directory.count {
      var last = first
      let start = directory[first].offset
      while last + 1 < directory.count, directory[last + 1].offset >= start,
        directory[last + 1].storedRange.upperBound - start <= LineVerifier.readSize
      { last += 1 }
      let length = directory[last].storedRange.upperBound - start
      do { _ = try await envelope.read(parts: first..<last + 1) } catch let error as HistoryError
        where error.code == .missing
      {
        throw HistoryError(.missing, operation: "read listed object", key: object.key.name)
      }
      try await throttle(length)
      first = last + 1
    }
  }

  /// The footer repeats it, so that far readers do without; near ones begin with it.
  private func readHeader(_ object: ObjectListing, _ kind: Envelope.Kind) async throws {
    let bytes: [UInt8]
    do {
      bytes = try await store.get(object.key, range: 0..<UInt64(Envelope.headerSize))
    } catch {
      throw HistoryError.from(error, operation: "read listed object", key: object.key.name)
    }
    _ = try EnvelopeHeader(bytes, key: object.key, kind: kind)
  }

  /// What refers to objects, and the WAL.
  private func check(
    _ history: LineHistory, _ sizes: [ObjectKey: UInt64], _ keys: LineKeys, _ report: inout Report,
    known: [String]
  ) async throws {
    let own = keys.prefix
    for damage in await history.damages where damage.key?.hasPrefix(own) ?? true {
      let text = damage.description
      if !known.contains(text) { report.problems.append(text) }
    }
    for chunk in await history.chunks where sizes[keys.wal(chunk.number)] == nil {
      // Put, or merged, since the listing?
      guard try await size(keys.wal(chunk.number)) == nil else { continue }
      report.problems.append("WAL chunk '\(keys.wal(chunk.number))' is listed and not in the store")
    }
    for layer in Set(await history.keyframes.flatMap(\.layers)) {
      for (number, object) in layer.objects.enumerated() {
        let key = layer.key(ofObject: number)
        var found = sizes[key]
        if found == nil { found = try await size(key) }
        if found == object.size { continue }
        report.problems.append(
          "layer object '\(key)' has \(found.map { "\($0)" } ?? "no") bytes, \(object.size) were written"
        )
      }
    }
    for gap in await history.gaps() {
      report.problems.append(
        "WAL \(gap.range) of line '\(gap.line)' is missing after '\(gap.before ?? "the beginning")'"
      )
    }
    let problem = try await self.problem { try await history.verifyRecords(throttle) }
    if let problem { report.problems.append(problem) }
  }

  private func size(_ key: ObjectKey) async throws -> UInt64? {
    do { return try await store.size(key) } catch {
      throw HistoryError.from(error, operation: "find", key: key.name)
    }
  }

  /// Seeks what is promised now. What is not found may have been promised until then only: if it still is, it is
  /// sought once more, and a window from where it begins by then.
  private func seek(
    _ line: LineID, _ promised: () async throws -> Promise?, _ report: inout Report
  ) async throws {
    let first = (try await promised() ?? Promise()).targets
    report.moments += first.count
    let failed = try await failures(line, first)
    if failed.isEmpty { return }
    let left = (try await promised() ?? Promise()).targets.filter { target in
      failed.contains { $0.target == target || $0.target.isTime && target.isTime }
    }
    for (target, problem) in try await failures(line, left) {
      report.problems.append("promised moment \(target): \(problem)")
    }
  }

  private func failures(
    _ line: LineID, _ targets: [SeekTarget]
  ) async throws -> [(target: SeekTarget, problem: String)] {
    // Opened anew: what was opened before may be hours old.
    let history = try await LineHistory.open(line, store: store)
    var result: [(target: SeekTarget, problem: String)] = []
    for target in targets {
      let problem = try await self.problem {
        _ = try await history.seek(target, now: HistoryEnvironment.systemTime())
      }
      if let problem { result.append((target, problem)) }
    }
    return result
  }
}

extension SeekTarget {
  fileprivate var isTime: Bool {
    if case .time = self { true } else { false }
  }
}

extension LineHistory {
  /// Reads the line's own WAL, wherever it is whole, and checks every record.
  /// - Throws: ``HistoryError`` of the first that is not right.
  func verifyRecords(_ throttle: @Sendable (UInt64) async throws -> Void) async throws {
    guard let format = PostgresMajor(rawValue: description.major) else { return }
    for run in wholeRuns() {
      var reader = WALStreamReader(
        format: format, startingAtRecord: run.lowerBound,
        segmentSize: UInt64(description.segmentSize))
      for try await piece in readWAL(from: run.lowerBound, to: run.upperBound) {
        do {
          _ = try piece.bytes.withUnsafeBytes { bytes in
            try reader.feed(bytes, at: piece.startLSN) { _ in }
          }
        } catch {
          throw HistoryError(
            .badWAL, operation: "read WAL of line \(line)", lsn: reader.lastRecordEnd, cause: error)
        }
        try await throttle(UInt64(piece.bytes.count))
      }
    }
  }

  /// Stretches of the line's own WAL without a gap, from a record's start.
  ///
  /// The first record that ends in a stretch may begin in WAL that retention took: then it begins with the next.
  private func wholeRuns() -> [Range<LSN>] {
    var stretches: [(start: LSN, record: LSN?, end: LSN)] = []
    for chunk in chunks {
      if stretches.last.map({ $0.end < chunk.startLSN }) ?? true {
        stretches.append((chunk.startLSN, nil, chunk.startLSN))
      }
      let last = stretches.count - 1
      if stretches[last].record == nil, let start = chunk.summary.firstRecordStart,
        start >= stretches[last].start
      {
        stretches[last].record = start
      }
      stretches[last].end = max(stretches[last].end, chunk.endLSN)
    }
    let limit = chain.lines[0].uploadedLSN
    return stretches.compactMap { stretch in
      let end = min(stretch.end, limit)
      return stretch.record.flatMap { $0 < end ? $0..<end : nil }
    }
  }
}
