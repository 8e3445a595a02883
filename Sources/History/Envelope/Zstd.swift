import CZstd
import Synchronization

/// zstd over raw buffers, with contexts that are used again.
///
/// A context costs an allocation of some hundred kilobytes and its clearing, so each thread takes
/// one from a pool and gives it back. The pool holds as many as ever ran at once.
enum Zstd {
  struct Failure: Error {
    var message: String
  }

  private struct Context: @unchecked Sendable {
    // A zstd context may move between threads; the pool gives it to one at a time.
    var pointer: OpaquePointer
  }

  private static let compressors = Mutex<[Context]>([])
  private static let decompressors = Mutex<[Context]>([])

  static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }

  /// Returns the number of bytes written; `target` must hold ``bound(_:)`` bytes.
  static func compress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, level: Int32
  ) throws -> Int {
    let context = try take(compressors, ZSTD_createCCtx)
    defer { compressors.withLock { $0.append(context) } }
    return try checked(
      ZSTD_compressCCtx(
        context.pointer, target.baseAddress, target.count, source.baseAddress, source.count,
        level))
  }

  /// Returns the number of bytes written. Fails where the source is not one whole frame or
  /// `target` is too small.
  static func decompress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) throws -> Int {
    let context = try take(decompressors, ZSTD_createDCtx)
    defer { decompressors.withLock { $0.append(context) } }
    return try checked(
      ZSTD_decompressDCtx(
        context.pointer, target.baseAddress, target.count, source.baseAddress, source.count))
  }

  private static func take(
    _ pool: borrowing Mutex<[Context]>, _ make: () -> OpaquePointer?
  ) throws -> Context {
    if let context = pool.withLock({ $0.popLast() }) { return context }
    guard let pointer = make() else { throw Failure(message: "out of memory") }
    return Context(pointer: pointer)
  }

  private static func checked(_ result: Int) throws -> Int {
    guard ZSTD_isError(result) == 0 else {
      throw Failure(message: String(cString: ZSTD_getErrorName(result)))
    }
    return result
  }
}
