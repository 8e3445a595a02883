/// SQL quoting that needs no connection.
public enum SQL {
  /// An identifier in double quotes. Names longer than 63 bytes are the server's to refuse or cut.
  /// - Throws: ``PostgresError`` `.invalidArgument` for an empty name or a zero byte.
  public static func identifier(_ name: String) throws -> String {
    guard !name.isEmpty else { throw PostgresError(.invalidArgument, "identifier is empty") }
    return try quoted(name, "\"")
  }

  /// A string literal that means the same whatever `standard_conforming_strings` is.
  /// - Throws: ``PostgresError`` `.invalidArgument` for a zero byte.
  public static func literal(_ text: String) throws -> String {
    let quoted = try quoted(text, "'")
    guard quoted.utf8.contains(UInt8(ascii: "\\")) else { return quoted }
    var escaped = " E"
    for character in quoted.unicodeScalars {
      if character == "\\" { escaped.unicodeScalars.append(character) }
      escaped.unicodeScalars.append(character)
    }
    return escaped
  }

  private static func quoted(_ text: String, _ mark: Unicode.Scalar) throws -> String {
    var result = String(mark)
    for scalar in text.unicodeScalars {
      guard scalar.value != 0 else {
        throw PostgresError(.invalidArgument, "text holds a zero byte: '\(text.prefix(64))'")
      }
      // Scalars, not characters: a quote followed by a combining mark is still a quote to the
      // server.
      if scalar == mark { result.unicodeScalars.append(mark) }
      result.unicodeScalars.append(scalar)
    }
    result.unicodeScalars.append(mark)
    return result
  }
}
