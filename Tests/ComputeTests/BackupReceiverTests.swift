import DurableIO
import Foundation
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import Compute

/// What comes from a server that nobody here vouches for.
@Suite struct BackupReceiverTests {
  /// A header as PostgreSQL writes it, the contents, and the padding.
  private static func file(
    _ path: String, _ contents: [UInt8] = [], kind: UInt8 = UInt8(ascii: "0"), target: String = ""
  ) -> [UInt8] {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) {
      for (index, byte) in text.utf8.enumerated() { header[offset + index] = byte }
    }
    func octal(_ value: Int, _ digits: Int) -> String {
      let text = String(value, radix: 8)
      return String(repeating: "0", count: digits - text.count) + text
    }
    put(path, at: 0)
    put(octal(0o600, 7), at: 100)
    put(octal(contents.count, 11), at: 124)
    put(octal(1_700_000_000, 11), at: 136)
    header[156] = kind
    put(target, at: 157)
    put("ustar", at: 257)
    let sum = header.enumerated().reduce(0) {
      $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element))
    }
    put(octal(sum, 6), at: 148)
    header[155] = 32
    let padding = [UInt8](repeating: 0, count: (512 - contents.count % 512) % 512)
    return header + contents + padding
  }

  private static func read(_ bytes: [UInt8], piece: Int) throws -> [(ArchiveEntry, [UInt8])] {
    var reader = ArchiveReader()
    var found: [(ArchiveEntry, [UInt8])] = []
    var start = 0
    while start < bytes.count {
      let end = min(start + piece, bytes.count)
      try bytes[start..<end].withUnsafeBytes { part in
        try reader.feed(part) { event in
          switch event {
          case .begins(let entry): found.append((entry, []))
          case .bytes(let part): found[found.count - 1].1 += Array(part)
          }
        }
      }
      start = end
    }
    #expect(reader.isWhole)
    return found
  }

  @Test(arguments: [1, 7, 511, 512, 513, 10_000])
  func filesComeOutInPiecesOfAnySize(_ piece: Int) throws {
    let long = (0..<1300).map { UInt8(truncatingIfNeeded: $0) }
    let archive =
      Self.file("base", kind: UInt8(ascii: "5")) + Self.file("PG_VERSION", Array("15\n".utf8))
      + Self.file("base/empty") + Self.file("base/long", long)
    let found = try Self.read(archive + [UInt8](repeating: 0, count: 1024), piece: piece)
    #expect(found.map(\.0.path) == ["base", "PG_VERSION", "base/empty", "base/long"])
    #expect(found.map(\.1) == [[], Array("15\n".utf8), [], long])
    #expect(found[3].0.size == 1300 && found[3].0.mode == 0o600)
    #expect(found[0].0.kind == .directory)
  }

  @Test func aDamagedHeaderIsRefused() throws {
    var archive = Self.file("base/1", [1, 2, 3])
    for offset in stride(from: 0, to: 512, by: 13) where offset != 155 {
      archive[offset] ^= 0x41
      #expect(throws: ComputeError.self) { try Self.read(archive, piece: 512) }
      archive[offset] ^= 0x41
    }
    #expect(throws: ComputeError.self) {
      try Self.read(Self.file("x", kind: UInt8(ascii: "3")), piece: 512)
    }
  }

  @Test(arguments: [
    "../outside", "/etc/passwd", "base/../../outside", "base//1", "base/./1", "base/..",
  ])
  func aNameThatLeadsElsewhereIsRefused(_ path: String) async throws {
    try await withTemporaryDirectory { directory in
      var receiver = BackupReceiver(directory: directory)
      #expect(throws: ComputeError.self) {
        try Self.file(path, [1]).withUnsafeBytes { try receiver.receive($0) }
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
    }
  }

  @Test func aLinkIsRefused() async throws {
    try await withTemporaryDirectory { directory in
      var receiver = BackupReceiver(directory: directory)
      let link = Self.file("pg_tblspc/16400", kind: UInt8(ascii: "2"), target: "/root")
      #expect(throws: ComputeError.self) { try link.withUnsafeBytes { try receiver.receive($0) } }
    }
  }

  @Test func onlyTheClusterIsTaken() async throws {
    try await withTemporaryDirectory { directory in
      var receiver = BackupReceiver(directory: directory)
      let archive =
        Self.file("postgresql.conf", [1]) + Self.file("server.key", [2])
        + Self.file("log/today.log", [3]) + Self.file("pg_wal/000000010000000000000001", [4])
        + Self.file("postmaster.pid", [5])
        + Self.file("base/5/1259", [UInt8](repeating: 6, count: 8192))
      try archive.withUnsafeBytes { try receiver.receive($0) }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory).count == 1)
      #expect(receiver.leftOut == 5)
      // Without a label nothing is made of it.
      #expect(throws: ComputeError.self) { try receiver.finish(settings: [:], major: .v15) }
    }
  }

  @Test func aLabelTellsWhereReplayStarts() throws {
    let text = """
      START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
      CHECKPOINT LOCATION: 0/2000060
      BACKUP METHOD: streamed
      BACKUP FROM: primary
      START TIME: 2026-11-25 12:00:00 UTC
      LABEL: exzo
      START TIMELINE: 3

      """
    let label = try BackupLabel(Array(text.utf8))
    #expect(label.redoLSN == LSN("0/2000028"))
    #expect(label.checkpointLSN == LSN("0/2000060"))
    #expect(label.timeline == TimelineID(3))
    for line in text.split(separator: "\n") where !line.hasPrefix("BACKUP M") {
      guard !line.hasPrefix("START TIME:"), !line.hasPrefix("LABEL") else { continue }
      let without = text.replacingOccurrences(of: line, with: "")
      #expect(throws: ComputeError.self, "\(line)") { try BackupLabel(Array(without.utf8)) }
    }
    let standby = text.replacingOccurrences(of: "primary", with: "standby")
    #expect(throws: ComputeError.self) { try BackupLabel(Array(standby.utf8)) }
  }
}
