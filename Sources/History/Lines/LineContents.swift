import ObjectStorage
import PostgresFormat

/// What a line holds, as its manifest and the objects after it say.
struct LineContents: Sendable {
  let description: LineDescription
  var owners: [LineOwner] = []
  var chunks: [WALChunkReference] = []
  var keyframes: [Keyframe] = []
  /// Objects that could not be read, by key: named in alarms; history is used without them.
  var damages: [String: HistoryError] = [:]
  var manifest: ObjectNumber?
  /// As the manifest has it; counts as long as its writer has the line.
  var manifestBase = VolumeBase()
  /// What retention took, whatever else is listed.
  var evictions = LineEvictions()
  /// Of chunks that no manifest lists and that set out together with others: below which LSN all was stored then.
  var confirmed: [ObjectNumber: LSN] = [:]
  /// The highest numbers that were listed.
  var lastChunk = ObjectNumber(epoch: 0, sequence: 0)
  var lastKeyframe = ObjectNumber(epoch: 0, sequence: 0)
  /// Chunks up to this number are in the manifest, or no part of the line any more.
  var manifestChunks = ObjectNumber(epoch: 0, sequence: 0)
  /// Keyframes up to this number are in the manifest, or no part of the line any more.
  var manifestKeyframes = ObjectNumber(epoch: 0, sequence: 0)

  var line: LineID { description.id }
  var keys: LineKeys { LineKeys(line: line) }

  /// The part of a chunk that counts.
  struct Span: Sendable {
    var chunk: WALChunkReference
    /// Up to the chunk's end, or to where a higher epoch took the line over.
    var endLSN: LSN
    var startLSN: LSN { chunk.startLSN }
  }

  /// Bytes of an epoch from here on do not count, because a higher one had taken over.
  func limit(of epoch: UInt32) -> LSN {
    owners.lazy.filter { $0.epoch > epoch }.map(\.takeoverLSN).min() ?? LSN(.max)
  }

  /// The chunks that cover the line's WAL, in order; none lies wholly below the end of the one
  /// before it. Gaps are possible, see ``gaps(from:)``; what was evicted is one.
  func spans() -> [Span] {
    let spans = allSpans()
    if evictions.wal.isEmpty { return spans }
    return spans.filter { !evictions.contains($0.startLSN..<$0.endLSN) }
  }

  /// Also those that were evicted.
  func allSpans() -> [Span] {
    var limits: [UInt32: LSN] = [:]
    var spans: [Span] = []
    for chunk in chunks {
      let epoch = chunk.number.epoch
      let limit = limits[epoch] ?? self.limit(of: epoch)
      limits[epoch] = limit
      let end = min(chunk.endLSN, limit)
      if chunk.startLSN < end { spans.append(Span(chunk: chunk, endLSN: end)) }
    }
    spans.sort {
      ($0.startLSN, $1.endLSN, $1.chunk.number) < ($1.startLSN, $0.endLSN, $0.chunk.number)
    }
    var result: [Span] = []
    for span in spans where result.last.map({ span.endLSN > $0.endLSN }) ?? true {
      result.append(span)
    }
    return result
  }

  /// Keyframes whose image lies in the history that counts, in order of their consistent LSN.
  /// - Parameter withdrawn: whether those count that no moment is opened from any more, but whose objects are
  ///   still there.
  func countingKeyframes(withdrawn: Bool = false) -> [Keyframe] {
    keyframes.filter {
      guard $0.consistentLSN <= limit(of: $0.number.epoch) else { return false }
      return evictions.keyframe($0.number).map { withdrawn && !$0.isDropped } ?? true
    }
    .sorted { ($0.consistentLSN, $0.number) < ($1.consistentLSN, $1.number) }
  }

  /// The newest keyframe of a lazily opened line that needs nothing of what the line was opened from.
  var standaloneKeyframe: Keyframe? {
    guard description.parent?.isLazy ?? false else { return nil }
    let end = uploadedLSN
    return countingKeyframes().last { $0.isComplete && $0.consistentLSN <= end }
  }

  /// What the line's volume reads below its own blocks: as the present writer took the line over, or as it
  /// says since.
  var base: VolumeBase {
    var base = VolumeBase(layers: owners.last?.base)
    guard let manifest, let owner = owners.last, manifest.epoch == owner.epoch else { return base }
    base.layers = manifestBase.layers ?? base.layers
    base.next = manifestBase.next
    return base
  }

  /// Layers that the line's volume reads below its own blocks, or is about to.
  var volumeBase: [LayerReference] {
    let base = base
    return (base.layers ?? description.parent?.base.layers ?? []) + (base.next ?? [])
  }

  /// Whether the line's present writer has listed its keyframes without this one: then it does not know it any
  /// more, and never lists it again.
  func isForgotten(_ keyframe: ObjectNumber) -> Bool {
    guard let manifest, let owner = owners.last, manifest.epoch == owner.epoch,
      keyframe <= manifestKeyframes
    else { return false }
    return !keyframes.contains { $0.number == keyframe }
  }

  /// The end of what the store holds.
  var uploadedLSN: LSN { spans().last?.endLSN ?? description.startLSN }
}

/// WAL that is missing between two chunks.
public struct WALGap: Hashable, Sendable {
  public var line: LineID
  public var range: Range<LSN>
  /// Keys of the chunks before and after the gap, where there are any.
  public var before: String?
  public var after: String?
}

extension LineContents {
  /// Gaps in `[start, end)`.
  func gaps(in range: Range<LSN>) -> [WALGap] {
    var result: [WALGap] = []
    var position = range.lowerBound
    var before: String?
    for span in spans() {
      if span.endLSN <= position {
        before = keys.wal(span.chunk.number).name
        continue
      }
      if position >= range.upperBound { break }
      if span.startLSN > position {
        result.append(
          WALGap(
            line: line, range: position..<min(span.startLSN, range.upperBound), before: before,
            after: keys.wal(span.chunk.number).name))
      }
      position = span.endLSN
      before = keys.wal(span.chunk.number).name
    }
    if position < range.upperBound {
      result.append(
        WALGap(line: line, range: position..<range.upperBound, before: before, after: nil))
    }
    return result
  }
}
