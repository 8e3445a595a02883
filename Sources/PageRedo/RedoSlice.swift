import Foundation
import Glibc
import PostgresFormat

/// Some consecutive requests of a batch, for one worker.
///
/// Reads and writes only their part of the batch, so that slices run side by side.
struct RedoSlice: Sendable {
  var batch: RedoBatch
  var requests: Range<Int>
  var completion: RedoCompletion
}

/// Counts the slices of a batch down and carries the failure that concerns the whole.
final class RedoCompletion: Sendable {
  nonisolated(unsafe) private var open: Int
  private let changed = NSCondition()

  init(slices: Int) { open = slices }

  func finishSlice() {
    changed.lock()
    open -= 1
    if open == 0 { changed.broadcast() }
    changed.unlock()
  }

  func wait() {
    changed.lock()
    while open > 0 { changed.wait() }
    changed.unlock()
  }
}

/// Where a slice stands: the next request, and how much of it earlier exchanges did.
struct RedoProgress {
  var request: Int
  /// Bytes and number of the request's records that are done.
  var doneBytes = 0
  var doneRecords: UInt32 = 0
  var applied: UInt32 = 0
  var already: UInt32 = 0
  /// Workers that this request has cost.
  var attempts = 0

  mutating func advance() { self = RedoProgress(request: request + 1) }
}

/// What was put into an exchange.
struct ExchangeLoad {
  /// Where each request lies in the exchange.
  var offsets: [Int] = []
  /// Set when the only request is not there to its end: bytes and number of its records.
  var part: (bytes: Int, records: UInt32)?
}

extension RedoSlice {
  /// Copies as many requests as fit from `progress` on; of one that does not fit alone, its next
  /// records. Nothing is loaded where not even one record fits.
  func load(
    from progress: RedoProgress, into exchange: UnsafeMutableRawPointer, bytes: Int
  ) -> ExchangeLoad {
    var load = ExchangeLoad()
    var used = ExchangeFormat.Header.length
    var next = progress.request
    while next < requests.upperBound {
      let done = next == progress.request ? progress.doneBytes : 0
      let length = batch.length(of: next) - done
      if used + length > bytes { break }
      copy(next, skipping: done, count: length, to: exchange + used)
      load.offsets.append(used)
      used += length
      next += 1
    }
    if load.offsets.isEmpty {
      used += loadPart(progress, into: exchange, bytes: bytes, &load)
    } else if progress.doneRecords > 0 {
      let first = exchange + load.offsets[0]
      let count: UInt32 = first.number(ExchangeFormat.Request.recordCount)
      first.put(count - progress.doneRecords, at: ExchangeFormat.Request.recordCount)
    }
    exchange.put(ExchangeFormat.magic, at: ExchangeFormat.Header.magic)
    exchange.put(ExchangeFormat.version, at: ExchangeFormat.Header.version)
    exchange.put(UInt32(load.offsets.count), at: ExchangeFormat.Header.requests)
    exchange.put(UInt64(used), at: ExchangeFormat.Header.used)
    exchange.put(UInt32(0), at: ExchangeFormat.Header.completed)
    return load
  }

  private func loadPart(
    _ progress: RedoProgress, into exchange: UnsafeMutableRawPointer, bytes: Int,
    _ load: inout ExchangeLoad
  ) -> Int {
    let request = batch.memory + batch.offsets[progress.request]
    let total = batch.length(of: progress.request) - ExchangeFormat.Request.records
    let room = bytes - ExchangeFormat.Header.length - ExchangeFormat.Request.records
    let records = UnsafeRawPointer(request + ExchangeFormat.Request.records)
    var end = progress.doneBytes
    var count: UInt32 = 0
    while end < total {
      let length: UInt32 = records.number(end + ExchangeFormat.Record.length)
      let footprint = ExchangeFormat.Record.footprint(Int(length))
      if end + footprint - progress.doneBytes > room { break }
      end += footprint
      count += 1
    }
    guard count > 0 else { return 0 }
    let length = ExchangeFormat.Request.records + end - progress.doneBytes
    let start = ExchangeFormat.Header.length
    copy(progress.request, skipping: progress.doneBytes, count: length, to: exchange + start)
    (exchange + start).put(count, at: ExchangeFormat.Request.recordCount)
    load.offsets = [start]
    load.part = (end - progress.doneBytes, count)
    return length
  }

  /// Copies header, page and the records after the first `skipping` bytes of records.
  private func copy(
    _ index: Int, skipping: Int, count: Int, to place: UnsafeMutableRawPointer
  ) {
    let request = batch.memory + batch.offsets[index]
    let fixed = ExchangeFormat.Request.records
    if skipping == 0 {
      memcpy(place, request, count)
    } else {
      memcpy(place, request, fixed)
      memcpy(place + fixed, request + fixed + skipping, count - fixed)
    }
    place.put(UInt64(count), at: ExchangeFormat.Request.length)
  }

  /// Takes over a request's page, unless the exchange says that there is none.
  /// - Returns: the failure, if it is one.
  func take(
    _ progress: inout RedoProgress, from place: UnsafeMutableRawPointer,
    part: (bytes: Int, records: UInt32)?
  ) -> PageRedoError? {
    let outcome: UInt32 = place.number(ExchangeFormat.Request.outcome)
    guard outcome == ExchangeFormat.Outcome.page || outcome == ExchangeFormat.Outcome.zero else {
      let text = place + ExchangeFormat.Request.page
      let message = UnsafeRawBufferPointer(start: text, count: PostgresLayout.blockSize)
      return PageRedoError(
        outcome == ExchangeFormat.Outcome.refused ? .refused : .redo,
        page: batch.target(of: progress.request), record: recordAtWork(in: place),
        reason: String(decoding: message.prefix(500).prefix { $0 != 0 }, as: UTF8.self))
    }
    let request = batch.memory + batch.offsets[progress.request]
    memcpy(
      request + ExchangeFormat.Request.page, place + ExchangeFormat.Request.page,
      PostgresLayout.blockSize)
    progress.applied += place.number(ExchangeFormat.Request.applied, as: UInt32.self)
    progress.already += place.number(ExchangeFormat.Request.already, as: UInt32.self)
    if let part {
      progress.doneBytes += part.bytes
      progress.doneRecords += part.records
      progress.attempts = 0
      return nil
    }
    request.put(outcome, at: ExchangeFormat.Request.outcome)
    request.put(
      place.number(ExchangeFormat.Request.pageLSN, as: UInt64.self),
      at: ExchangeFormat.Request.pageLSN)
    request.put(progress.applied, at: ExchangeFormat.Request.applied)
    request.put(progress.already, at: ExchangeFormat.Request.already)
    return nil
  }

  func recordAtWork(in place: UnsafeMutableRawPointer) -> LSN? {
    let lsn: UInt64 = place.number(ExchangeFormat.Request.recordLSN)
    return lsn == 0 ? nil : LSN(lsn)
  }

  func fail(_ request: Int, _ error: PageRedoError) {
    batch.failures.withLock { $0[request] = error }
  }
}
