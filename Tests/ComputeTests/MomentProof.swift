import Foundation
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import Compute

/// A moment opened without replay, compared file by file and page by page with the same one replayed.
struct MomentProof {
  private(set) var moments = 0
  /// Of these, moments of which both ways began at the same image: every page must be the same, hints included.
  private(set) var strict = 0
  private(set) var files = 0
  private(set) var pages = 0
  private(set) var made: UInt64 = 0
  /// Blocks behind the end of the replayed file: the server extended it without a record.
  private(set) var behindEnd = 0
  private(set) var unlogged = 0
  /// Files of which no record tells.
  private(set) var further = 0
  /// Empty files that only replay has.
  private(set) var leftovers = 0
  /// Pages that differ only in what no record describes.
  private(set) var hinted = 0
  var uncommittedPages: Int { uncommitted.judged }
  private(set) var longestTail: UInt64 = 0
  private(set) var groups: [Int: Int] = [:]
  private(set) var fallbacks: [String: Int] = [:]
  /// Files of the commit log and its like, by directory.
  private(set) var slrus: [String: Int] = [:]
  /// Redo workers killed while pages were made.
  var kills = 0
  /// See ``UncommittedPages``.
  private var uncommitted = UncommittedPages()

  mutating func noteFallback(_ error: ComputeError) {
    let reason = error.message.split(separator: " ").last.map(String.init) ?? ""
    fallbacks[reason, default: 0] += 1
  }

  mutating func compare(_ lazy: OpenedMoment, _ replayed: OpenedMoment, at moment: LSN) throws {
    moments += 1
    if lazy.groups == replayed.groups { strict += 1 }
    made += lazy.made
    groups[lazy.groups.count, default: 0] += 1
    if let oldest = lazy.groups.last?.redoLSN { longestTail = max(longestTail, moment - oldest) }
    // From the same images, what no record describes is the same too.
    let isStrict = lazy.groups == replayed.groups
    let (a, b) = (try lazy.files(), try replayed.files())
    try compareLeftovers(
      Set(b.keys).subtracting(a.keys), of: replayed, at: moment, isStrict: isStrict)
    try compareFurther(Set(a.keys).subtracting(b.keys), of: lazy, at: moment)
    for path in Set(a.keys).intersection(b.keys).sorted() {
      files += 1
      let (made, expected) = (try lazy.bytes(path), try replayed.bytes(path))
      guard case .relation = DataFileKind(path: path) else {
        #expect(made == expected, "\(moment): \(path)")
        if case .slru = DataFileKind(path: path) {
          slrus[(path as NSString).deletingLastPathComponent, default: 0] += 1
        }
        continue
      }
      compare(made, expected, path, moment, isStrict: isStrict)
    }
    var (x, y) = (try lazy.control().checkpoint, try replayed.control().checkpoint)
    (x.time, y.time) = (0, 0)
    #expect(x == y, "\(moment)")
    for opened in [lazy, replayed] {
      var log = PostmasterLog()
      let text = try String(contentsOfFile: "\(opened.server.directory)/log", encoding: .utf8)
      for line in text.split(separator: "\n") { log.observe(String(line)) }
      #expect(log.redoLast == opened.expectation.lastRecordStart, "\(moment)")
    }
  }

  /// Files that only replay has. A server unlinks the empty files of dropped relations behind its checkpoint, so the
  /// image of that checkpoint still has them, and no record after it tells of them: whoever replays from there keeps them,
  /// as crash recovery of a plain server does. Where both begin at one image, both have them.
  private mutating func compareLeftovers(
    _ paths: Set<String>, of replayed: OpenedMoment, at moment: LSN, isStrict: Bool
  ) throws {
    leftovers += paths.count
    for path in paths.sorted() {
      guard !isStrict, case .relation = DataFileKind(path: path) else {
        Issue.record("\(moment): \(path) is not there without replay")
        continue
      }
      let length = try replayed.bytes(path).count
      #expect(length == 0, "\(moment): \(path), of which replay has \(length) bytes, is not there")
      // And nobody can read it.
      uncommitted.note(path)
    }
  }

  /// Files that replay does not make: the keyframe has them, and no record does. Empty ones of dropped relations,
  /// which a server keeps until its next checkpoint, and maps without a bit.
  private mutating func compareFurther(
    _ paths: Set<String>, of lazy: OpenedMoment, at moment: LSN
  ) throws {
    further += paths.count
    for path in paths.sorted() {
      let bytes = try lazy.bytes(path)
      guard case .relation = DataFileKind(path: path) else {
        Issue.record("\(moment): \(path) is not there after replay")
        continue
      }
      for start in stride(from: 0, to: bytes.count, by: blockSize) {
        #expect(PageMask.isUnlogged(bytes[start..<start + blockSize]), "\(moment): \(path)")
      }
    }
  }

  /// Commit log, multixacts and commit times were all among what was compared.
  func requireEveryLog() {
    for name in ["pg_xact", "pg_multixact/members", "pg_multixact/offsets", "pg_commit_ts"] {
      #expect(slrus[name, default: 0] > 0, "no file of \(name) was compared")
    }
  }

  /// Judges the pages that no record wrote, by the catalogs of the replayed cluster.
  mutating func judgeUncommitted(at moment: LSN, replayed: OpenedMoment) throws {
    for failure in try uncommitted.failures(at: moment, replayed: replayed) {
      Issue.record("\(failure)")
    }
  }

  private mutating func compare(
    _ made: [UInt8], _ expected: [UInt8], _ path: String, _ moment: LSN, isStrict: Bool
  ) {
    let what = "\(moment): \(path)"
    #expect(made.count >= expected.count, "\(what): \(made.count) bytes, not \(expected.count)")
    for block in 0..<made.count / blockSize {
      let page = made[block * blockSize..<(block + 1) * blockSize]
      pages += 1
      #expect(PageMask.lsn(page) <= moment, "\(what) block \(block)")
      guard (block + 1) * blockSize <= expected.count else {
        behindEnd += 1
        if PageMask.isUnlogged(page) { continue }
        if UncommittedPages.mayHold(page) {
          uncommitted.note(path, block: block)
        } else {
          Issue.record("\(what) block \(block) is behind the end; LSN \(PageMask.lsn(page))")
        }
        continue
      }
      let other = expected[block * blockSize..<(block + 1) * blockSize]
      if page == other { continue }
      if PageMask.isUnlogged(page), PageMask.isUnlogged(other) {
        unlogged += 1
        continue
      }
      if !isStrict, isMap(what) || PageMask.masked(page) == PageMask.masked(other) {
        hinted += 1
        continue
      }
      if UncommittedPages.mayHold(page), UncommittedPages.mayHold(other) {
        uncommitted.note(path, block: block)
        continue
      }
      let first = zip(page, other).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? -1
      Issue.record(
        "\(what) block \(block): byte \(first); LSN \(PageMask.lsn(page)), not \(PageMask.lsn(other))"
      )
    }
  }

  /// Bits of a visibility map that were set after an image's redo LSN and before the page was written are lost
  /// where a record clears them again: redo clears without a look at the page's LSN. So maps made from different
  /// images differ, and either may know more; the servers' own check judges them: see `VisibilityCheck`.
  private func isMap(_ what: String) -> Bool { what.hasSuffix("_vm") }

  var summary: String {
    """
    \(moments) moments (\(strict) from one image), \(files) files, \(pages) pages, \(made) made; tails up to \
    \(longestTail >> 20) MiB; by groups \(groups); behind the end \(behindEnd), without a record \
    \(unlogged), other hints \(hinted), files \(further), left over \(leftovers), of files never committed \(uncommitted.judged); SLRU \
    files \(slrus.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }); workers killed \(kills); replay \
    only: \(fallbacks)
    """
  }
}

/// What of two pages may differ where they were made from different images: what no record describes.
enum PageMask {
  static func lsn(_ page: ArraySlice<UInt8>) -> LSN {
    page.withUnsafeBytes { PageHeader($0)!.lsn }
  }

  /// Nothing that a record wrote is on it: zeros, or initialised and never logged.
  static func isUnlogged(_ page: ArraySlice<UInt8>) -> Bool {
    page.withUnsafeBytes { bytes in
      let header = PageHeader(bytes)!
      if header.isNew { return page.allSatisfy { $0 == 0 } }
      return header.lsn == .invalid && header.lower == UInt16(PageHeader.length)
    }
  }

  /// As `heap_mask` and its like do (`access/common/bufmask.c`, `access/heap/heapam.c`): LSN, checksum, prune
  /// hint, hint flags, hint bits of tuples, the hole, dead items; and what a sequence gave out without a record.
  static func masked(_ page: ArraySlice<UInt8>) -> [UInt8] {
    var bytes = Array(page)
    func u16(_ at: Int) -> Int { Int(bytes[at]) | Int(bytes[at + 1]) << 8 }
    for at in 0..<12 { bytes[at] = 0 }
    bytes.replaceSubrange(20..<24, with: [0, 0, 0, 0])
    let (lower, upper, special) = (u16(12), u16(14), u16(16))
    guard lower >= 24, lower <= upper, upper <= special, special <= blockSize else { return bytes }
    if blockSize - special == 8, u16(special) == 0x1717 { return Array(bytes[..<24]) }
    for at in lower..<upper { bytes[at] = 0 }
    for at in special..<blockSize where blockSize - special == 16 && at >= special + 12 {
      bytes[at] = 0
    }
    for item in stride(from: 24, to: lower, by: 4) {
      let word = UInt32(u16(item)) | UInt32(u16(item + 2)) << 16
      let (offset, flags, length) = (Int(word & 0x7FFF), word >> 15 & 3, Int(word >> 17))
      if special < blockSize {
        // An index: dead items are hints.
        if flags == 3 { bytes[item + 2] &= 0xFE }
        continue
      }
      guard flags == 1, offset >= upper, length >= 23, offset + length <= special else { continue }
      // t_infomask as heap_mask has it: HEAP_XACT_MASK, or the hints of xmax where xmin is frozen. Redo knows no
      // command identifiers.
      if bytes[offset + 21] & 0x03 == 0x03 {
        bytes[offset + 21] &= ~0x0C
      } else {
        bytes[offset + 20] &= 0x0F
        bytes[offset + 21] = 0
      }
      bytes.replaceSubrange(offset + 8..<offset + 12, with: [0, 0, 0, 0])
      for at in offset + length..<min((offset + length + 7) & ~7, special) { bytes[at] = 0 }
    }
    return bytes
  }
}
