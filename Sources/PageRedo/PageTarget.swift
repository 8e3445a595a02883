import PostgresFormat

/// A page of a relation: what redo is asked for.
package struct PageTarget: Hashable, Sendable, CustomStringConvertible {
  package var locator: RelFileLocator
  /// Every fork but the free space map, which WAL does not describe.
  package var fork: ForkNumber
  /// Counted over all segments of the fork: 0 to 2^32 - 3.
  package var block: UInt32

  package init(locator: RelFileLocator, fork: ForkNumber, block: UInt32) {
    self.locator = locator
    self.fork = fork
    self.block = block
  }

  /// As `pg_waldump` names a block: `rel 1663/5/16384 fork vm blk 0`.
  package var description: String {
    "rel \(locator)" + (fork == .main ? "" : " fork \(fork.name)") + " blk \(block)"
  }
}

/// One WAL record that touches the page.
package struct RedoRecord: Sendable {
  package var startLSN: LSN
  /// Where the next record may begin; the LSN that the page carries after this record.
  package var endLSN: LSN
  /// The whole record, `xl_tot_len` bytes without page headers. Its CRC was verified by whoever read
  /// it.
  package var bytes: [UInt8]

  package init(startLSN: LSN, endLSN: LSN, bytes: [UInt8]) {
    self.startLSN = startLSN
    self.endLSN = endLSN
    self.bytes = bytes
  }
}

/// How the cluster that wrote the records keeps its pages.
package struct PageOptions: OptionSet, Hashable, Sendable {
  package var rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Data checksums or `wal_log_hints` are on: some changes then raise a page's LSN that otherwise
  /// do not (`XLogHintBitIsNeeded`).
  package static let logsHints = PageOptions(rawValue: 1)
  /// The page is returned with its data checksum stored; otherwise that field is stale.
  package static let storesChecksum = PageOptions(rawValue: 2)

  /// A cluster with data checksums.
  package static let checksums: PageOptions = [.logsHints, .storesChecksum]
}

/// A page, an earlier image of it, and the records in between. For tests and single pages;
/// ``RedoBatch`` holds many without an allocation each.
package struct PageRedoRequest: Sendable {
  package var target: PageTarget
  /// 8192 bytes; nil where the page did not exist before the first record.
  package var base: [UInt8]?
  /// In ascending order.
  package var records: [RedoRecord]
  package var options: PageOptions

  package init(
    target: PageTarget, base: [UInt8]?, records: [RedoRecord], options: PageOptions = .checksums
  ) {
    self.target = target
    self.base = base
    self.records = records
    self.options = options
  }
}

/// What redo made of a request.
package enum RedoOutcome: Sendable {
  /// The page after the last record, with the LSN it carries.
  case page(LSN)
  /// Nothing has initialised the page: it is all zeros.
  case zeroPage
  case failed(PageRedoError)
}

/// A page that redo made.
package struct RedonePage: Sendable {
  package var target: PageTarget
  /// 8192 bytes.
  package var bytes: [UInt8]
  /// What the page carries; invalid for a page that nothing initialised.
  package var lsn: LSN
}
