import PostgresFormat
import Volume

/// Ends the epoch of a volume, of whose writes a cache may hold some, with all in it that its own checkpoint asks for.
///
/// A checkpoint that completes between hand-over and seal is the image's. Pages that were written past the server's
/// buffers, and logged before its redo LSN, may have come to the cache after the hand-over: no replay from there gives
/// them back. Then both are done again.
/// - Parameters:
///   - handOver: brings into the volume every write that has returned.
///   - checkpoint: where the checkpoint of the volume's control file lies.
/// - Throws: ``ComputeError`` `.process` where each of many seals met a new checkpoint; what the two throw.
func sealHandedOver(
  _ volume: Volume, handOver: () async throws -> Void,
  checkpoint: @escaping @Sendable () throws -> LSN
) async throws {
  for _ in 0..<20 {
    let before = try await blocking(checkpoint)
    try await handOver()
    let after = try await blocking {
      try volume.seal()
      return try checkpoint()
    }
    if after == before { return }
  }
  throw ComputeError(
    .process, "make a keyframe: checkpoints complete faster than their pages are handed over",
    hint: "it is tried again with the next checkpoint")
}
