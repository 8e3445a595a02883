import ControlPlane
import Glibc

/// Reads text in one of PostgreSQL's encodings by the system's `iconv(3)`.
final class TextDecoder {
  private let encoding: String
  private let converter: iconv_t

  /// - Parameter statement: as `pg_dump` writes it: `SET client_encoding = 'LATIN1';`.
  /// - Returns: `nil` for UTF-8, and for bytes of no encoding, which are taken for that.
  /// - Throws: ``DumpError`` for an encoding that the system does not know.
  convenience init?(statement: String) throws {
    let parts = statement.split(separator: "'")
    let encoding = parts.count > 1 ? String(parts[1]) : "UTF8"
    if ["UTF8", "SQL_ASCII"].contains(encoding) { return nil }
    try self.init(encoding: encoding)
  }

  init(encoding: String) throws {
    self.encoding = encoding
    converter = iconv_open("UTF-8", Self.systemName(encoding))
    guard Int(bitPattern: converter) != -1 else {
      throw DumpError("read an archive: the system knows no encoding '\(encoding)'")
    }
  }

  deinit { iconv_close(converter) }

  /// The system's name of one of PostgreSQL's (`pg_enc2name_tbl`, `common/encnames.c`).
  private static func systemName(_ encoding: String) -> String {
    switch encoding {
    case "LATIN1": "ISO-8859-1"
    case "LATIN2": "ISO-8859-2"
    case "LATIN3": "ISO-8859-3"
    case "LATIN4": "ISO-8859-4"
    case "LATIN5": "ISO-8859-9"
    case "LATIN6": "ISO-8859-10"
    case "LATIN7": "ISO-8859-13"
    case "LATIN8": "ISO-8859-14"
    case "LATIN9": "ISO-8859-15"
    case "LATIN10": "ISO-8859-16"
    case "KOI8R": "KOI8-R"
    case "KOI8U": "KOI8-U"
    case "EUC_JIS_2004": "EUC-JISX0213"
    case _ where encoding.hasPrefix("WIN"): "CP" + encoding.dropFirst(3)
    default: encoding.replacing("_", with: "-")
    }
  }

  /// - Throws: ``DumpError`` where the bytes are none of the encoding.
  func decode(_ bytes: [UInt8]) throws -> String {
    var input = bytes.map { CChar(bitPattern: $0) }
    // No encoding takes more than three bytes of UTF-8 for one of its own.
    var output = [CChar](repeating: 0, count: 3 * bytes.count)
    var (left, room) = (input.count, output.count)
    let isDone = input.withUnsafeMutableBufferPointer { input in
      output.withUnsafeMutableBufferPointer { output in
        var (from, to) = (input.baseAddress, output.baseAddress)
        return iconv(converter, &from, &left, &to, &room) != -1 && left == 0
      }
    }
    guard isDone else {
      throw DumpError("read an archive: its text is not in the encoding '\(encoding)'")
    }
    return String(
      decoding: output.prefix(output.count - room).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
