import PostgresFormat
import Synchronization

/// Decoded parts that the readers of chains share.
///
/// One for all moments that a process has open, so that its memory is bounded once.
public final class ChainCache: Sendable {
  struct PartKey: Hashable, Sendable {
    /// ``OpenWALChunk/identity``.
    var chunk: UInt64
    var part: Int
  }

  let index: BoundedCache<PartKey, BlockIndexPart>
  let wal: BoundedCache<PartKey, WALPart>

  /// - Parameter indexBytes: memory for parts of block indices, of about 15 KiB each.
  /// - Parameter walBytes: memory for decompressed WAL, in parts of usually 16 KiB.
  public init(indexBytes: Int = 64 << 20, walBytes: Int = 32 << 20) {
    index = BoundedCache(limit: indexBytes)
    wal = BoundedCache(limit: walBytes)
  }
}

/// A decompressed part of WAL; immutable once it is filled.
final class WALPart: @unchecked Sendable {
  // Written only by `init`, which no other thread can see.
  let memory: UnsafeMutableRawBufferPointer

  init(count: Int, fill: (UnsafeMutableRawBufferPointer) throws -> Void) rethrows {
    memory = .allocate(byteCount: max(count, 1), alignment: 16)
    // Where this throws `deinit` runs: every property is set.
    try fill(UnsafeMutableRawBufferPointer(rebasing: memory[..<count]))
  }

  deinit { memory.deallocate() }
}
