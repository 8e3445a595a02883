import Foundation

/// A whole request or answer, as far as a proxy of tests needs it.
struct HTTPMessage {
  var startLine: String
  private var headers: [(name: String, value: String)] = []
  var body: [UInt8] = []

  init(status: Int, body: [UInt8]) {
    startLine = "HTTP/1.1 \(status) Injected"
    setBody(body)
  }

  private init?(head: ArraySlice<UInt8>) {
    let lines = String(decoding: head, as: UTF8.self).components(separatedBy: "\r\n")
    guard let first = lines.first, !first.isEmpty else { return nil }
    startLine = first
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { continue }
      headers.append(
        (
          String(line[..<colon]),
          line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        ))
    }
  }

  func header(_ name: String) -> String? {
    headers.first { $0.name.lowercased() == name.lowercased() }?.value
  }

  mutating func removeHeader(_ name: String) {
    headers.removeAll { $0.name.lowercased() == name.lowercased() }
  }

  mutating func setHeader(_ name: String, _ value: String) {
    removeHeader(name)
    headers.append((name, value))
  }

  mutating func setBody(_ bytes: [UInt8]) {
    body = bytes
    removeHeader("transfer-encoding")
    setHeader("Content-Length", "\(bytes.count)")
  }

  var encoded: [UInt8] {
    var text = startLine + "\r\n"
    for (name, value) in headers { text += "\(name): \(value)\r\n" }
    return Array((text + "\r\n").utf8) + body
  }

  /// Reads one message; `nil` where the connection ends before it is whole.
  ///
  /// - Parameter pending: bytes read already, and what follows the message.
  static func read(
    from connection: TCPConnection, pending: inout [UInt8], isAnswer: Bool
  ) -> HTTPMessage? {
    let mark = Array("\r\n\r\n".utf8)
    func end(of bytes: [UInt8]) -> Int? {
      guard bytes.count >= 4 else { return nil }
      return (0...bytes.count - 4).first { Array(bytes[$0..<$0 + 4]) == mark }
    }
    var headEnd = end(of: pending)
    while headEnd == nil {
      let more = connection.read()
      if more.isEmpty { return nil }
      pending += more
      headEnd = end(of: pending)
    }
    guard let headEnd, var message = HTTPMessage(head: pending[..<headEnd]) else { return nil }
    pending.removeFirst(headEnd + 4)
    if message.header("expect") != nil {
      connection.write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
    }
    if let length = message.header("content-length").flatMap({ Int($0) }) {
      while pending.count < length {
        let more = connection.read()
        if more.isEmpty { return nil }
        pending += more
      }
      message.body = Array(pending[..<length])
      pending.removeFirst(length)
    } else if message.header("transfer-encoding")?.lowercased() == "chunked" {
      guard let body = readChunks(connection, &pending) else { return nil }
      message.setBody(body)
    } else if isAnswer, !message.startLine.contains(" 204"), !message.startLine.contains(" 304") {
      while true {
        let more = connection.read()
        if more.isEmpty { break }
        pending += more
      }
      message.setBody(pending)
    }
    return message
  }

  private static func readChunks(
    _ connection: TCPConnection, _ pending: inout [UInt8]
  ) -> [UInt8]? {
    var body: [UInt8] = []
    while true {
      guard let line = readLine(connection, &pending),
        let size = Int(line.prefix { $0.isHexDigit }, radix: 16)
      else { return nil }
      while pending.count < size + 2 {
        let more = connection.read()
        if more.isEmpty { return nil }
        pending += more
      }
      body += pending[..<size]
      pending.removeFirst(size + 2)
      if size == 0 { return body }
    }
  }

  private static func readLine(
    _ connection: TCPConnection, _ pending: inout [UInt8]
  ) -> String? {
    while true {
      if let end = pending.firstIndex(of: 0x0A) {
        let line = String(decoding: pending[..<end], as: UTF8.self)
        pending.removeFirst(end + 1)
        return line.trimmingCharacters(in: .whitespacesAndNewlines)
      }
      let more = connection.read()
      if more.isEmpty { return nil }
      pending += more
    }
  }
}
