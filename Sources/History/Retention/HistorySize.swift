import ObjectStorage
import PostgresFormat

/// The objects that some needs keep.
struct RetainedObjects: Sendable {
  struct Name: Hashable {
    var line: LineID
    var number: ObjectNumber
  }

  private(set) var chunks: [Name: WALChunkReference] = [:]
  private(set) var layers: [Name: LayerReference] = [:]

  init(_ forest: RetentionForest, _ needs: RetentionNeeds) {
    for (line, contents) in forest.lines where needs.living.contains(line) {
      add(contents, needs)
      var references: [LayerReference] = []
      if needs.running.contains(line) {
        references += contents.volumeBase
      }
      let keyframes = needs.keyframes[line] ?? []
      for keyframe in contents.keyframes where keyframes.contains(keyframe.number) {
        references += keyframe.layers
      }
      for layer in references {
        layers[Name(line: layer.line, number: layer.number)] = layer
      }
    }
  }

  private mutating func add(_ contents: LineContents, _ needs: RetentionNeeds) {
    let needed = needs.wal[contents.line] ?? LSNRanges()
    let spans = contents.spans()
    for (index, span) in spans.enumerated() {
      let isLast = index == spans.count - 1 && needs.running.contains(contents.line)
      if isLast || needed.overlaps(span.startLSN..<span.endLSN) {
        chunks[Name(line: contents.line, number: span.chunk.number)] = span.chunk
      }
    }
  }

  var bytes: UInt64 {
    chunks.values.reduce(0) { $0 + $1.size } + layers.values.reduce(0) { $0 + $1.storedBytes }
  }
}

/// What the history of a branch takes in the store, and what a shorter window would give back.
public struct HistorySize: Hashable, Sendable {
  /// Bytes in the store of what the branch's promised moments need, by kind.
  public var walBytes: UInt64 = 0
  public var layerBytes: UInt64 = 0
  /// How much of both lies on ancestors of the branch's line.
  public var sharedBytes: UInt64 = 0
  /// Bytes of WAL as PostgreSQL wrote it, over the same chunks.
  public var plainWALBytes: UInt64 = 0

  public var bytes: UInt64 { walBytes + layerBytes }
  /// What lies on the branch's own line.
  public var ownBytes: UInt64 { bytes - sharedBytes }
}

/// What a later start of the window takes.
public struct HistoryShrinkage: Hashable, Sendable {
  /// Bytes in the store that nothing else needs.
  public var bytes: UInt64 = 0
  /// Transactions after which a moment could be opened until then, to the chunk.
  public var commits: UInt64 = 0
  public var walBytes: UInt64 = 0
}

/// Sizes of the history of some lines, as they were read.
public struct HistorySizes: Sendable {
  let forest: RetentionForest
  let policy: RetentionPolicy
  let now: PostgresTimestamp

  /// Reads lines and their ancestors.
  /// - Throws: ``HistoryError``.
  public static func read(
    _ lines: [LineID], environment: HistoryEnvironment,
    policy: RetentionPolicy = RetentionPolicy()
  ) async throws -> HistorySizes {
    var forest = RetentionForest(lines: [:])
    for line in lines {
      var next: LineID? = line
      while let line = next, forest.lines[line] == nil {
        let contents = try await LineContents.load(line, store: environment.store)
        forest.lines[line] = contents
        next = contents.description.parent?.line
      }
    }
    return HistorySizes(forest: forest, policy: policy, now: environment.now())
  }

  /// The size of what one line's demand needs.
  public func size(of line: LineID, _ demand: LineDemand) -> HistorySize {
    var size = HistorySize()
    let objects = retained([line: demand])
    for (name, chunk) in objects.chunks {
      size.walBytes += chunk.size
      size.plainWALBytes += chunk.summary.byteCount
      if name.line != line { size.sharedBytes += chunk.size }
    }
    for (name, layer) in objects.layers {
      size.layerBytes += layer.storedBytes
      if name.line != line { size.sharedBytes += layer.storedBytes }
    }
    return size
  }

  /// What goes when all demands become others, such as those of a shorter window.
  public func shrinkage(
    from demands: [LineID: LineDemand], to others: [LineID: LineDemand]
  ) -> HistoryShrinkage {
    let (before, after) = (retained(demands), retained(others))
    var result = HistoryShrinkage()
    for (name, chunk) in before.chunks where after.chunks[name] == nil {
      result.bytes += chunk.size
      result.commits += chunk.summary.commits
      result.walBytes += chunk.summary.byteCount
    }
    for (name, layer) in before.layers where after.layers[name] == nil {
      result.bytes += layer.storedBytes
    }
    return result
  }

  private func retained(_ demands: [LineID: LineDemand]) -> RetainedObjects {
    var all = demands
    for line in forest.lines.keys where all[line] == nil { all[line] = LineDemand(window: nil) }
    for (line, demand) in demands {
      guard case .since(let time) = demand.window, let chain = forest.chain(of: line) else {
        continue
      }
      let first = demand.inheritsWindow ? LSN(0) : chain.description.startLSN
      all[line]?.window = .from(max(chain.chunkStart(since: time), first))
    }
    return RetainedObjects(
      forest,
      RetentionPlanner(policy: policy, now: now).needs(forest, all, withdrawn: false))
  }
}

extension LineChain {
  /// The start of the first chunk that holds a transaction which ended later than the time.
  func chunkStart(since time: PostgresTimestamp) -> LSN {
    pieces.first { ($0.chunk.summary.latestTime ?? time) > time }?.range.lowerBound ?? uploadedLSN
  }
}
