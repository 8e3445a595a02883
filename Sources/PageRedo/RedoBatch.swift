import Glibc
import PostgresFormat
import Synchronization

/// Pages to bring to a moment, in one piece of memory, and what became of them.
///
/// Purpose: holds requests as workers read them, so that a batch of any size costs a few growths of
/// one buffer and no allocation for a page or record.
/// State: 1. request `i` lies at `offsets[i]`, header, page, records; 2. after ``RedoPool/redo(_:)``
/// its page is the page at the end of its records where ``outcome(of:)`` says `.page` or
/// `.zeroPage`; 3. no request is added between then and ``removeAll()``.
/// Concurrency: one thread at a time; while the pool works on it, nobody else.
package final class RedoBatch: @unchecked Sendable {
  /// The longest record taken: more than any record that changes pages can be (33 blocks with an
  /// image and 64 KiB of data each, and as much again).
  package static let maximumRecordLength = 4 << 20

  private(set) var memory: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var used = 0
  private(set) var offsets: [Int] = []
  let failures = Mutex<[Int: PageRedoError]>([:])

  /// - Parameter capacity: bytes reserved at first.
  package init(capacity: Int = 1 << 20) {
    self.capacity = max(capacity, 1 << 16)
    memory = .allocate(byteCount: self.capacity, alignment: 64)
  }

  deinit { memory.deallocate() }

  /// How many requests it holds.
  package var count: Int { offsets.count }

  /// Bytes in use: pages and records.
  package var byteCount: Int { used }

  /// Empties the batch and keeps its memory.
  package func removeAll() {
    used = 0
    offsets.removeAll(keepingCapacity: true)
    failures.withLock { $0.removeAll() }
  }

  /// Begins a request; records follow with ``append(record:startLSN:endLSN:)``.
  ///
  /// - Parameter base: the page before the first record, 8192 bytes; nil where it did not exist.
  /// - Returns: the request's index.
  @discardableResult
  package func begin(
    _ target: PageTarget, base: UnsafeRawBufferPointer?, options: PageOptions = .checksums
  ) -> Int {
    let start = used
    reserve(ExchangeFormat.Request.records)
    let request = memory + start
    memset(request, 0, ExchangeFormat.Request.headerLength)
    request.put(UInt64(ExchangeFormat.Request.records), at: ExchangeFormat.Request.length)
    request.put(target.locator.tablespace, at: ExchangeFormat.Request.tablespace)
    request.put(target.locator.database, at: ExchangeFormat.Request.database)
    request.put(target.locator.relation, at: ExchangeFormat.Request.relation)
    request.put(target.block, at: ExchangeFormat.Request.block)
    request.put(UInt32(target.fork.rawValue), at: ExchangeFormat.Request.fork)
    request.put(options.rawValue, at: ExchangeFormat.Request.flags)
    let page = request + ExchangeFormat.Request.page
    if let base {
      precondition(base.count == PostgresLayout.blockSize, "base page of \(base.count) bytes")
      memcpy(page, base.baseAddress!, base.count)
    } else {
      memset(page, 0, PostgresLayout.blockSize)
    }
    offsets.append(start)
    return offsets.count - 1
  }

  /// Adds a record to the request begun last.
  ///
  /// - Parameters:
  ///   - record: `xl_tot_len` bytes, CRC verified.
  ///   - startLSN: not below the end of the record before.
  /// - Throws: ``PageRedoError`` `.recordLength`; the batch is unchanged.
  package func append(
    record: UnsafeRawBufferPointer, startLSN: LSN, endLSN: LSN
  ) throws(PageRedoError) {
    let index = offsets.count - 1
    precondition(index >= 0, "record before any page")
    guard record.count <= RedoBatch.maximumRecordLength else {
      throw PageRedoError(
        .recordLength, page: target(of: index), record: startLSN,
        reason: "record of \(record.count) bytes; at most \(RedoBatch.maximumRecordLength)")
    }
    let start = used
    let footprint = ExchangeFormat.Record.footprint(record.count)
    reserve(footprint)
    let place = memory + start
    place.put(startLSN.rawValue, at: ExchangeFormat.Record.startLSN)
    place.put(endLSN.rawValue, at: ExchangeFormat.Record.endLSN)
    place.put(UInt64(record.count), at: ExchangeFormat.Record.length)
    if let bytes = record.baseAddress {
      memcpy(place + ExchangeFormat.Record.headerLength, bytes, record.count)
    }
    let request = memory + offsets[index]
    request.put(
      request.number(ExchangeFormat.Request.length, as: UInt64.self) + UInt64(footprint),
      at: ExchangeFormat.Request.length)
    request.put(
      request.number(ExchangeFormat.Request.recordCount, as: UInt32.self) + 1,
      at: ExchangeFormat.Request.recordCount)
  }

  /// Adds a whole request.
  package func append(_ request: PageRedoRequest) throws(PageRedoError) {
    if let base = request.base {
      _ = base.withUnsafeBytes { begin(request.target, base: $0, options: request.options) }
    } else {
      begin(request.target, base: nil, options: request.options)
    }
    for record in request.records {
      let failure: PageRedoError? = record.bytes.withUnsafeBytes { bytes in
        do throws(PageRedoError) {
          try append(record: bytes, startLSN: record.startLSN, endLSN: record.endLSN)
          return nil
        } catch { return error }
      }
      if let failure { throw failure }
    }
  }

  /// Becomes a copy of another batch, as it was before any pool saw it.
  package func take(copyOf other: RedoBatch) {
    removeAll()
    reserve(other.used)
    memcpy(memory, other.memory, other.used)
    offsets = other.offsets
  }

  private func reserve(_ bytes: Int) {
    if used + bytes > capacity {
      capacity = max(capacity * 2, used + bytes)
      let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 64)
      memcpy(larger, memory, used)
      memory.deallocate()
      memory = larger
    }
    used += bytes
  }
}

/// What became of the requests.
extension RedoBatch {
  package func target(of index: Int) -> PageTarget {
    let request = memory + offsets[index]
    let fork = request.number(ExchangeFormat.Request.fork, as: UInt32.self)
    return PageTarget(
      locator: RelFileLocator(
        tablespace: request.number(ExchangeFormat.Request.tablespace),
        database: request.number(ExchangeFormat.Request.database),
        relation: request.number(ExchangeFormat.Request.relation)),
      // Written by `begin` from a fork, and by nobody else.
      fork: ForkNumber(rawValue: UInt8(truncatingIfNeeded: fork))!,
      block: request.number(ExchangeFormat.Request.block))
  }

  /// What became of a request; a failure "not run" before ``RedoPool/redo(_:)``.
  package func outcome(of index: Int) -> RedoOutcome {
    if let failure = failures.withLock({ $0[index] }) { return .failed(failure) }
    let request = memory + offsets[index]
    switch request.number(ExchangeFormat.Request.outcome, as: UInt32.self) {
    case ExchangeFormat.Outcome.page:
      return .page(LSN(request.number(ExchangeFormat.Request.pageLSN, as: UInt64.self)))
    case ExchangeFormat.Outcome.zero: return .zeroPage
    default:
      return .failed(
        PageRedoError(.stopped, page: target(of: index), record: nil, reason: "not run"))
    }
  }

  /// The page: 8192 bytes, valid until the batch changes. Only after an outcome that is no failure
  /// is it the page at the end of its records.
  package func page(of index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: memory + offsets[index] + ExchangeFormat.Request.page, count: PostgresLayout.blockSize)
  }

  /// How many of the request's records redo applied, and how many the base page held already.
  package func recordCounts(of index: Int) -> (applied: Int, already: Int) {
    let request = memory + offsets[index]
    return (
      Int(request.number(ExchangeFormat.Request.applied, as: UInt32.self)),
      Int(request.number(ExchangeFormat.Request.already, as: UInt32.self))
    )
  }

  /// Bytes of the request as workers read it.
  func length(of index: Int) -> Int {
    Int((memory + offsets[index]).number(ExchangeFormat.Request.length, as: UInt64.self))
  }
}
