import APITypes
import Catalog
import ControlPlane
import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

extension APIResponder {
  /// Authenticates, reads the body and answers; writes are noted in the audit log.
  func serve(_ routed: RoutedRequest) async throws -> APIAnswer {
    let caller: Caller
    do {
      caller = try await authenticate(routed)
    } catch let error as ControlPlaneError where error.code == .unauthorized {
      try limit("address \(routed.address)")
      throw error
    }
    try limit("account \(caller.account.id)")
    let body: Data
    do {
      let buffer = try await routed.request.body.collect(upTo: Self.bodyLimit)
      body = Data(buffer.readableBytesView)
    } catch is NIOTooManyBytesError {
      return failure(
        ErrorAnswer(
          status: 413, code: "body_too_large",
          message: "the body is larger than \(Self.bodyLimit) bytes"), routed.requestID,
        routed.route.operationID)
    }
    return try await serve(routed, caller, body)
  }

  /// Answers a caller who is known and within the limits.
  func serve(_ routed: RoutedRequest, _ caller: Caller, _ body: Data) async throws -> APIAnswer {
    guard !JSONText.holdsZeroByte(body) else {
      let field = JSONText.fieldWithZeroByte(body).map { "'\($0)'" } ?? "the body"
      throw ControlPlaneError(
        .badValue, "\(field) holds text with a zero byte (\\u0000), must be text without one")
    }
    var request = APIRequest(
      caller: caller, parameters: routed.values, query: try QueryValues(routed.query), body: body)
    request.address = routed.address
    // Ranges are of GET alone (RFC 9110, 14.2): HEAD tells of the whole file.
    if routed.request.method != .head {
      request.range = routed.request.headers[.range]
      request.ifRange = routed.request.headers[.ifRange]
    }
    guard routed.isWrite else { return try await run(routed, request) }
    let answer = await attempt(routed) { try await repeatable(routed, request) }
    try await plane.catalog.write { [now = plane.now] tx in
      try tx.audit(
        AuditRecord(
          accountID: caller.account.id, plan: caller.account.plan, keyID: caller.key.id,
          requestID: routed.requestID, method: routed.route.method, path: routed.path,
          status: answer.status, address: routed.address, createdAt: now))
    }
    if answer.status < 400 { try await plane.settle() }
    return answer
  }

  /// Refuses a caller that asks too often: an account by all its requests, an address by those
  /// whose key was wrong.
  func limit(_ caller: String) throws {
    guard let seconds = limiter.delay(caller, at: plane.now) else { return }
    throw TooManyRequests(perMinute: limiter.perMinute, retryAfterSeconds: seconds)
  }

  private func authenticate(_ routed: RoutedRequest) async throws -> Caller {
    let header = routed.request.headers[.authorization] ?? ""
    let parts = header.split(separator: " ", maxSplits: 1)
    if parts.count == 2, parts[0].lowercased() == "bearer" {
      let key = parts[1].trimmingCharacters(in: .whitespaces)
      if let caller = try await plane.accounts.authenticate(key, from: routed.address) {
        return caller
      }
    }
    throw ControlPlaneError(
      .unauthorized, "authenticate: the API key is missing, wrong or revoked",
      hint: "send 'Authorization: Bearer KEY'")
  }

  private func run(_ routed: RoutedRequest, _ request: APIRequest) async throws -> APIAnswer {
    if let stream = routed.route.stream {
      let streamed = try await stream(request)
      var answer = APIAnswer(
        status: streamed.status, body: Data(), contentType: streamed.contentType,
        operation: routed.route.operationID)
      answer.stream = streamed
      return answer
    }
    return APIAnswer(
      status: routed.route.status, body: try await routed.route.handle(request),
      operation: routed.route.operationID)
  }

  private func attempt(
    _ routed: RoutedRequest, _ body: () async throws -> APIAnswer
  ) async -> APIAnswer {
    do {
      return try await body()
    } catch {
      let answer = ErrorAnswer(error)
      if answer.isDefect {
        logger.error(
          "request failed",
          metadata: [
            "request_id": "\(routed.requestID)", "operation": "\(routed.route.operationID)",
            "error": "\(error)",
          ])
      }
      return failure(answer, routed.requestID, routed.route.operationID)
    }
  }

  /// Runs a write once for an `Idempotency-Key`: a repetition gets the first answer, which is
  /// stored sealed.
  ///
  /// Refusals are not kept, since the caller may mend their cause.
  private func repeatable(_ routed: RoutedRequest, _ request: APIRequest) async throws -> APIAnswer
  {
    guard let key = routed.request.headers[.idempotencyKey] else {
      return try await run(routed, request)
    }
    guard (1...255).contains(key.utf8.count) else {
      throw ControlPlaneError(.badValue, "'Idempotency-Key' must be 1 to 255 bytes")
    }
    let claim = IdempotencyRecord(
      accountID: request.account, method: routed.route.method, path: routed.path, key: key,
      bodyHash: Self.hash(query: routed.query, body: request.body), createdAt: plane.now)
    if let hash = running.begin(claim) {
      var first = claim
      first.bodyHash = hash
      return try replay(first, claim, routed)
    }
    defer { running.end(claim) }
    if let first = try await plane.catalog.write({ try $0.claim(claim) }) {
      // What it was answered then may not be told any more: a project's sharing ends.
      if request.parameters["project_id"] != nil {
        try await plane.projects.requireAccess(request.project, account: request.account)
      }
      return try replay(first, claim, routed)
    }
    let answer: APIAnswer
    do {
      answer = try await plane.catalog.noting(claim) { try await run(routed, request) }
    } catch {
      // What was refused had no effect that counts: an endpoint may have been woken for it. Of another failure the
      // catalog knows, even where a commit was not answered.
      let isRefused = error is ControlPlaneError || ErrorAnswer(error).status < 500
      try await plane.catalog.write { try $0.release(claim, hadNone: isRefused) }
      throw error
    }
    await keep(answer, of: claim, routed)
    return answer
  }

  /// Stores what repetitions are answered. The request is done, and is not done again where this fails.
  private func keep(
    _ answer: APIAnswer, of claim: IdempotencyRecord, _ routed: RoutedRequest
  ) async {
    do {
      var done = claim
      done.status = answer.status
      done.sealedAnswer = try plane.sealer.seal(
        Array(answer.body), context: Self.context(claim))
      let record = done
      try await plane.catalog.write { try $0.update(record) }
    } catch {
      logger.error(
        "an answer was not kept for repetitions",
        metadata: ["request_id": "\(routed.requestID)", "error": "\(error)"])
    }
  }

  private func replay(
    _ first: IdempotencyRecord, _ claim: IdempotencyRecord, _ routed: RoutedRequest
  ) throws -> APIAnswer {
    guard first.bodyHash == claim.bodyHash else {
      return failure(
        ErrorAnswer(
          status: 409, code: "idempotency_key_reused",
          message: "the Idempotency-Key was used with another body or query; choose a new key"),
        routed.requestID, routed.route.operationID)
    }
    guard let status = first.status else {
      throw ControlPlaneError(
        .operationInProgress, "repeat the request: the first one with this key is still running",
        hint: "try again when it has finished")
    }
    guard let sealed = first.sealedAnswer else {
      // No 423: to try again would never help.
      return failure(
        ErrorAnswer(
          status: 409, code: "idempotency_answer_lost",
          message: "repeat the request: the first one with this key was cut off after it had taken "
            + "effect, and its answer is lost. HINT: look at the object; only where it is not as you "
            + "want it, send the request under a new key"),
        routed.requestID, routed.route.operationID)
    }
    let body = try plane.sealer.open(sealed, context: Self.context(claim))
    return APIAnswer(status: status, body: Data(body), operation: routed.route.operationID)
  }

  /// What a repetition must have in common with the first request, besides method and path.
  static func hash(query: Substring, body: Data) -> SealedBytes {
    // A query has no zero byte, which ends it here; without one the body counts alone.
    var bytes = Data(query.utf8)
    if !query.isEmpty { bytes.append(0) }
    bytes.append(body)
    return SealedBytes(Array(SHA256.hash(data: bytes)))
  }

  private static func context(_ record: IdempotencyRecord) -> String {
    "answer \(record.accountID) \(record.method) \(record.path) \(record.key)"
  }
}

/// What PostgreSQL cannot store in text.
enum JSONText {
  /// The path of the first text with a zero byte, such as `project.name`; `nil` where `json` is none.
  static func fieldWithZeroByte(_ json: Data) -> String? {
    // What cannot be read has no fields.
    guard let value = try? JSONSerialization.jsonObject(with: json) else { return nil }
    return path(to: value, "")
  }

  private static func path(to value: Any, _ here: String) -> String? {
    func holdsIt(_ text: String) -> Bool { text.unicodeScalars.contains("\0") }
    switch value {
    case let text as String: return holdsIt(text) ? here : nil
    case let list as [Any]:
      return list.enumerated().lazy.compactMap { path(to: $1, "\(here).\($0)") }.first
    case let fields as [String: Any]:
      let prefix = here.isEmpty ? "" : "\(here)."
      if fields.keys.contains(where: holdsIt) { return here.isEmpty ? nil : here }
      return fields.sorted { $0.key < $1.key }.lazy
        .compactMap { path(to: $0.value, "\(prefix)\($0.key)") }.first
    default: return nil
    }
  }

  /// Whether `json` holds the escape of a zero byte, or one as it is.
  static func holdsZeroByte(_ json: Data) -> Bool {
    let escape = Array("u0000".utf8)
    var isEscaped = false
    var position = json.startIndex
    while position < json.endIndex {
      let byte = json[position]
      if byte == 0 { return true }
      if isEscaped, json[position...].starts(with: escape) { return true }
      isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
      position += 1
    }
    return false
  }
}
