import APITypes
import ControlPlane
import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import RESTAPI

/// The Console: pages over the API, for people who would rather look than type.
///
/// *Purpose*: sign-in, pages, their static files, a stream of what changes, and the API for the pages'
/// own scripts under the session's cookie. Knows no rule of the platform: whatever a page shows or does
/// is a call of the API.
///
/// *State and invariants*: 1. Nothing is answered to a host name that is not ours. 2. Every request
/// that writes comes from this origin and carries the session's token. 3. A page holds text from
/// outside only escaped, and no script of its own.
///
/// *Concurrency*: stateless; sessions lie in the catalog.
///
/// *Not guarded here*: an operator who serves plain HTTP beyond loopback; `serve` refuses that.
public struct Console: PageResponder {
  let plane: ControlPlane
  let api: LocalAPI
  let settings: ConsoleSettings
  let assets: Assets
  let logger: Logger
  let attempts = SignInAttempts()

  /// - Throws: where a template does not parse.
  public init(
    plane: ControlPlane, api: LocalAPI, settings: ConsoleSettings, logger: Logger
  ) throws {
    self.plane = plane
    self.api = api
    self.settings = settings
    assets = try Assets(directory: settings.assetDirectory)
    self.logger = logger
  }

  var cookie: SessionCookie { SessionCookie(usesTLS: settings.usesTLS) }

  public func answer(_ request: Request, from address: String) async -> Response {
    let host = request.head.authority ?? ""
    guard settings.admits(host: host) else {
      return ConsoleHeaders.response(
        421, "This server is not called '\(host.prefix(128))'. Use one of its own names.\n",
        contentType: "text/plain; charset=utf-8")
    }
    let path = request.uri.path
    do {
      if path.hasPrefix("/assets/") { return asset(String(path.dropFirst(8))) }
      if path == "/signin" { return try await signIn(request, from: address, host) }
      if request.method != .get, request.method != .head {
        guard isOurs(request, host) else {
          return refusal("the request does not come from a page of this Console")
        }
      }
      guard let text = cookie.text(of: request), let session = try await plane.sessions.find(text)
      else { return signedOut(request) }
      return try await answer(request, session, text, from: address, host)
    } catch {
      logger.error("page failed", metadata: ["path": "\(path)", "error": "\(error)"])
      let told =
        LocalAPI.told(error)
        ?? (status: 500, message: "The page failed inside Exzo; the log says why.")
      return ConsoleHeaders.response(told.status, errorText(told.status, told.message))
    }
  }

  private func answer(
    _ request: Request, _ session: ConsoleSessions.Session, _ text: String, from address: String,
    _ host: String
  ) async throws -> Response {
    let path = request.uri.path
    if path.hasPrefix("/console/api/v2/") {
      return try await call(request, session, from: address)
    }
    if path == "/signout", request.method == .post {
      let fields = FormFields(try await body(of: request, upTo: 4096))
      guard Self.isEqual(fields["token"], session.formToken) else {
        return refusal("the form's token is missing or of another session")
      }
      try await plane.sessions.close(text)
      var response = ConsoleHeaders.redirect("/signin")
      response.headers[.setCookie] = cookie.removal
      return response
    }
    guard request.method == .get || request.method == .head else {
      return ConsoleHeaders.response(405, errorText(405, "This page only shows."))
    }
    let context = context(request, session, from: address, host)
    if path == "/console/events" { return events(context, text) }
    return try await page(context)
  }

  private func context(
    _ request: Request, _ session: ConsoleSessions.Session, from address: String, _ host: String
  ) -> PageContext {
    let path = request.uri.path.split(separator: "/").map {
      $0.removingPercentEncoding ?? String($0)
    }
    let query = FormFields(Array((request.uri.query ?? "").utf8)).values
    return PageContext(
      session: session, api: api, address: address, path: path, query: query,
      origin: "\(settings.usesTLS ? "https" : "http")://\(host)")
  }

  // MARK: Who asks

  /// Whether a request that writes comes from a page of ours. Browsers send `Origin` with each, and
  /// no script can forge it.
  private func isOurs(_ request: Request, _ host: String) -> Bool {
    if let site = request.headers[.fetchSite], site != "same-origin" { return false }
    guard let origin = request.headers[.origin] else { return false }
    return origin.lowercased() == "\(settings.usesTLS ? "https" : "http")://\(host.lowercased())"
  }

  static func isEqual(_ a: String?, _ b: String) -> Bool {
    guard let a, a.utf8.count == b.utf8.count else { return false }
    return zip(a.utf8, b.utf8).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
  }

  private func refusal(_ reason: String) -> Response {
    let body = #"{"code":"request_not_ours","message":"\#(reason)"}"#
    return ConsoleHeaders.response(403, body, contentType: "application/json; charset=utf-8")
  }

  /// Scripts learn that the session is over; people are led to the sign-in and back.
  private func signedOut(_ request: Request) -> Response {
    if request.uri.path.hasPrefix("/console/") || request.method != .get {
      return ConsoleHeaders.response(
        401, #"{"code":"session_over","message":"the session is over; sign in again"}"#,
        contentType: "application/json; charset=utf-8")
    }
    return ConsoleHeaders.redirect("/signin?next=\(PageContext.escape(request.uri.string))")
  }

  /// `VERSION/NAME`: what a version names never changes, modules that others import included.
  private func asset(_ path: String) -> Response {
    let parts = path.split(separator: "/").map(String.init)
    guard parts.count == 2, let file = assets.file(parts[1]) else {
      return ConsoleHeaders.response(404, errorText(404, "There is no such file."))
    }
    return Response(
      status: .ok,
      headers: ConsoleHeaders.fields(
        contentType: file.contentType,
        isCacheable: parts[0] == assets.version && settings.assetDirectory == nil),
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: file.bytes)))
  }

  // MARK: Calls

  /// The API under the session's cookie.
  private func call(
    _ request: Request, _ session: ConsoleSessions.Session, from address: String
  ) async throws -> Response {
    if request.method != .get,
      !Self.isEqual(request.headers[.formToken], session.formToken)
    {
      return refusal("the request's token is missing or of another session")
    }
    let text = request.uri.string.dropFirst("/console/api/v2".count)
    let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let answer = await api.send(
      request.method.rawValue, String(parts[0]), query: parts.count > 1 ? String(parts[1]) : "",
      body: Data(try await body(of: request, upTo: 1 << 20)), headers: request.headers,
      as: session.caller, from: address, isCounted: true)
    return answer.response(ConsoleHeaders.fields(contentType: answer.contentType))
  }

  func body(of request: Request, upTo limit: Int) async throws -> [UInt8] {
    Array(try await request.body.collect(upTo: limit).readableBytesView)
  }

  func errorText(_ status: Int, _ message: String) -> String {
    do {
      return try assets.render(
        "error", ["status": status, "message": message, "version": assets.version])
    } catch {
      return "\(status) \(status == 404 ? "not found" : "failed")\n"
    }
  }
}

/// `application/x-www-form-urlencoded`.
struct FormFields {
  private(set) var values: [String: String] = [:]

  init(_ bytes: [UInt8]) {
    for item in String(decoding: bytes, as: UTF8.self).split(separator: "&") {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        .map { String($0).replacing("+", with: " ").removingPercentEncoding ?? "" }
      if let name = parts.first { values[name] = parts.count > 1 ? parts[1] : "" }
    }
  }

  subscript(_ name: String) -> String? { values[name] }
}
