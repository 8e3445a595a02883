import Foundation
import PostgresFormat

/// How fast WAL is read and verified: `WALReading DIRECTORY START-LSN END-LSN [PIECE-BYTES]`.
///
/// Reads the segments of timeline 1 into memory, then, several times, cuts them into verified
/// records,
/// counting records, block references, commits and deletes, and prints the best and the median rate
/// in
/// bytes a second of processor time.
struct Counts {
  var records = 0
  var blocks = 0
  var commits = 0
  var deletes = 0
  var check: UInt64 = 0
}

func loadWAL(_ directory: String, _ start: LSN, _ end: LSN) throws -> [UInt8] {
  var bytes: [UInt8] = []
  var segment = WALSegment(timeline: TimelineID(1), containing: start)
  while segment.startLSN < end {
    let file = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(segment.fileName)"))
    let from = start > segment.startLSN ? Int(start - segment.startLSN) : 0
    let to = Int(min(end, segment.endLSN) - segment.startLSN)
    bytes += file[from..<to]
    segment = segment.next
  }
  return bytes
}

func readOnce(_ wal: UnsafeRawBufferPointer, _ start: LSN, piece: Int) throws -> Counts {
  var reader = WALStreamReader(format: .v15, startingAtPage: start)
  var counts = Counts()
  var offset = 0
  while offset < wal.count {
    let count = min(piece, wal.count - offset)
    _ = try reader.feed(
      UnsafeRawBufferPointer(rebasing: wal[offset..<offset + count]), at: reader.position
    ) { record in
      counts.records += 1
      for block in record.blockReferences {
        counts.blocks += 1
        counts.check &+= UInt64(block.block) &+ UInt64(block.locator.relation)
      }
      if record.commitsTransaction, record.transactionEndTime != nil { counts.commits += 1 }
      if record.heapOperation == .delete { counts.deletes += 1 }
    }
    offset += count
  }
  return counts
}

let arguments = CommandLine.arguments
guard arguments.count >= 4, let start = LSN(arguments[2]), let end = LSN(arguments[3]) else {
  print("usage: WALReading DIRECTORY START-LSN END-LSN [PIECE-BYTES]")
  exit(2)
}
let piece = arguments.count > 4 ? Int(arguments[4]) ?? 0 : 131_072
guard piece > 0 else {
  print("the size of a piece is a positive number of bytes")
  exit(2)
}
let bytes = try loadWAL(arguments[1], start.pageStart, end)
/// Processor time of this thread, so that what else the machine does counts little.
func processorSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

var rates: [Double] = []
var counts = Counts()
try bytes.withUnsafeBytes { wal in
  for _ in 0..<7 {
    let before = processorSeconds()
    counts = try readOnce(wal, start.pageStart, piece: piece)
    rates.append(Double(bytes.count) / 1e6 / (processorSeconds() - before))
  }
}
rates.sort()
print(
  "\(bytes.count) bytes, \(counts.records) records, \(counts.blocks) block references, "
    + "\(counts.commits) commits, average record \(bytes.count / max(1, counts.records)) bytes")
let best = String(format: "%.0f", rates[rates.count - 1])
let median = String(format: "%.0f", rates[rates.count / 2])
print(
  "reading: best \(best) MB/s, median \(median) MB/s, pieces of \(piece) bytes, "
    + "check \(counts.check)")

let rewriting = try measureRewriting(bytes, start.pageStart)
print(rewriting)
