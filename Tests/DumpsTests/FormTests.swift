import Foundation
import Testing

@testable import Dumps

struct FormTests {
  @Test func tableNamesAreReadAsSQLWritesThem() throws {
    #expect(try TableName("orders").schema == nil)
    #expect(try TableName("public.Orders").folded.name == "orders")
    let odd = try TableName(#""a.b"."c ""d"" e""#)
    #expect(odd.schema == "a.b" && odd.name == #"c "d" e"# && !odd.isFoldable)
    for wrong in ["", ".", "a.", ".b", "a.b.c", "\"open", "\"\""] {
      #expect(throws: (any Error).self, "\(wrong)") { _ = try TableName(wrong) }
    }
  }

  @Test func newNamesAreFreeAndFit() {
    #expect(TableRenaming.derive("orders_pkey", "orders", "o2", []) == "o2_pkey")
    #expect(TableRenaming.derive("by_date", "orders", "o2", []) == "o2_by_date")
    #expect(TableRenaming.derive("orders_pkey", "orders", "o2", ["o2_pkey"]) == "o2_pkey_1")
    let long = TableRenaming.derive(
      "orders_pkey", "orders", String(repeating: "ü", count: 31), ["x"])
    #expect(long.utf8.count <= 63)
  }

  @Test func archivesThatAreNoneAreErrors() {
    let head = Array("PGDMP".utf8)
    for bytes in [
      [], head, Array("PGDUMP-1.14".utf8), head + [1, 13, 0, 4, 8, 1], head + [1, 14, 0, 9, 8, 1],
      head + [1, 14, 0, 4, 8, 1] + [UInt8](repeating: 0xff, count: 200),
    ] {
      #expect(throws: (any Error).self) { _ = try ArchiveContents(bytes, path: "x") }
    }
  }

  @Test func tarHeadersAddUp() {
    let date = Date(timeIntervalSince1970: 1_800_000_000)
    for size in [0, 1, 511, 512, 1 << 33, 1 << 40] {
      let header = Tar.header("d/toc.dat", size: size, date: date)
      var blank = header
      blank.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
      let sum = blank.reduce(0) { $0 + Int($1) }
      let written = Int(String(decoding: header[148..<154], as: UTF8.self), radix: 8)
      #expect(written == sum)
      #expect((size + Tar.padding(size)) % 512 == 0)
    }
  }
}
