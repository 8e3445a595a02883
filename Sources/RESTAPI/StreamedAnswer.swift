import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// A file, or one range of it, as it goes to a client (RFC 9110, section 14).
struct StreamedAnswer: Sendable {
  var status: Int
  var contentType: String
  var headers: [HTTPField.Name: String] = [:]
  /// The bytes to send, within the file.
  var range: Range<Int>
  /// At least one byte from an offset on, at most up to an end.
  var read: @Sendable (_ from: Int, _ to: Int) async throws -> [UInt8]
  /// Told of bytes that were sent, now and then and at the end.
  var count: @Sendable (Int) async throws -> Void

  /// - Parameters:
  ///   - range: the `Range` header; several ranges or another unit mean the whole file.
  ///   - ifRange: the `If-Range` header: the range counts only while it is the entity tag.
  init(
    size: Int, contentType: String, entityTag: String, range: String?, ifRange: String?,
    read: @escaping @Sendable (_ from: Int, _ to: Int) async throws -> [UInt8],
    count: @escaping @Sendable (Int) async throws -> Void
  ) {
    self.contentType = contentType
    self.read = read
    self.count = count
    headers = [.acceptRanges: "bytes", .eTag: "\"\(entityTag)\""]
    let counts = ifRange == nil || ifRange == "\"\(entityTag)\""
    switch counts ? Self.parse(range ?? "", size: size) : .whole {
    case .whole:
      status = 200
      self.range = 0..<size
    case .part(let part):
      status = 206
      self.range = part
      headers[.contentRange] = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(size)"
    case .unsatisfiable:
      status = 416
      self.range = 0..<0
      headers[.contentRange] = "bytes */\(size)"
    }
  }

  /// Reads where the answer begins: what cannot be read there is an answer with the reason, and no cut-off stream.
  ///
  /// Whoever goes on with a download that was cut off where something is damaged learns it so.
  func checkBeginning() async throws {
    if range.isEmpty { return }
    _ = try await read(range.lowerBound, range.lowerBound + 1)
  }

  enum Wanted: Equatable {
    case whole
    case part(Range<Int>)
    case unsatisfiable
  }

  /// What a `Range` header means for a file of `size` bytes.
  static func parse(_ header: String, size: Int) -> Wanted {
    guard header.lowercased().hasPrefix("bytes=") else { return .whole }
    let text = header.dropFirst(6).trimmingCharacters(in: .whitespaces)
    let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !text.contains(","),
      parts.allSatisfy({ $0.utf8.allSatisfy { (0x30...0x39).contains($0) } })
    else { return .whole }
    // Numbers beyond any file are as good as the largest.
    let numbers = parts.map { $0.isEmpty ? nil : Int($0) ?? Int.max }
    switch (numbers[0], numbers[1]) {
    case (nil, nil): return .whole
    case (nil, let count?):
      return count == 0 || size == 0 ? .unsatisfiable : .part(max(0, size - count)..<size)
    case (let first?, let last):
      guard last.map({ $0 >= first }) ?? true else { return .whole }
      guard first < size else { return .unsatisfiable }
      return .part(first..<(last.map { min($0, size - 1) + 1 } ?? size))
    }
  }

  func response(_ common: HTTPFields, _ logger: Logger) -> Response {
    var fields = common
    for (name, value) in headers { fields[name] = value }
    fields[.contentLength] = String(range.count)
    return Response(
      status: HTTPResponse.Status(code: status), headers: fields,
      body: ResponseBody(contentLength: range.count) { writer in
        try await send(&writer, logger)
        try await writer.finish(nil)
      })
  }

  private func send(_ writer: inout any ResponseBodyWriter, _ logger: Logger) async throws {
    var offset = range.lowerBound
    var uncounted = 0
    do {
      while offset < range.upperBound {
        let bytes = try await read(offset, range.upperBound)
        try await writer.write(ByteBuffer(bytes: bytes))
        offset += bytes.count
        uncounted += bytes.count
        if uncounted >= DumpService.countedBytes {
          try await count(uncounted)
          uncounted = 0
        }
      }
      try await count(uncounted)
    } catch {
      // What was sent was sent. The connection ends before the announced length: the client sees
      // that its copy is not whole.
      do { try await count(uncounted) } catch let second {
        logger.error("a download was not counted", metadata: ["error": "\(second)"])
      }
      logger.warning("a download ended early", metadata: ["error": "\(error)"])
      throw error
    }
  }
}
