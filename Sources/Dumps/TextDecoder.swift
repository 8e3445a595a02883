import Glibc

/// Reads text in one of PostgreSQL's encodings by the system's `iconv(3)`.
final class TextDecoder {
  /// `nil` where the system does not know the encoding.
  private let converter: iconv_t?

  /// - Parameter statement: as `pg_dump` writes it: `SET client_encoding = 'LATIN1';`.
  /// - Returns: `nil` for UTF-8, and for bytes of no encoding, which are taken for that.
  convenience init?(statement: String) {
    let parts = statement.split(separator: "'")
    let encoding = parts.count > 1 ? String(parts[1]) : "UTF8"
    if ["UTF8", "SQL_ASCII"].contains(encoding) { return nil }
    self.init(encoding: encoding)
  }

  init(encoding: String) {
    let opened = iconv_open("UTF-8", Self.systemName(encoding))
    converter = Int(bitPattern: opened) == -1 ? nil : opened
  }

  deinit { if let converter { iconv_close(converter) } }

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

  /// What cannot be read is read as UTF-8, with marks in place of what is none: that the names in an archive are right
  /// matters where they are asked for; the archive's own bytes are what is restored.
  func decode(_ bytes: [UInt8]) -> String {
    converted(bytes) ?? String(decoding: bytes, as: UTF8.self)
  }

  private func converted(_ bytes: [UInt8]) -> String? {
    guard let converter else { return nil }
    var input = bytes.map { CChar(bitPattern: $0) }
    // No encoding takes more than three bytes of UTF-8 for one of its own; some hold a last letter back.
    var output = [CChar](repeating: 0, count: 3 * bytes.count + 16)
    var (left, room) = (input.count, output.count)
    let isDone = input.withUnsafeMutableBufferPointer { input in
      output.withUnsafeMutableBufferPointer { output in
        var (from, to) = (input.baseAddress, output.baseAddress)
        let isRead = iconv(converter, &from, &left, &to, &room) != -1 && left == 0
        // Gives what was held back, and forgets it where the text was none.
        return iconv(converter, nil, nil, &to, &room) != -1 && isRead
      }
    }
    guard isDone else { return nil }
    return String(
      decoding: output.prefix(output.count - room).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
