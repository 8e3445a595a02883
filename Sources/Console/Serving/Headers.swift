import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// What every answer of the Console carries.
enum ConsoleHeaders {
  /// Scripts, styles and requests of this origin only; nothing inline, nowhere in a frame.
  static let policy = [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
    "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
  ].joined(separator: "; ")

  static func fields(contentType: String, isCacheable: Bool = false) -> HTTPFields {
    var fields: HTTPFields = [.contentType: contentType, .xContentTypeOptions: "nosniff"]
    fields[.contentSecurityPolicy] = policy
    fields[HTTPField.Name("X-Frame-Options")!] = "DENY"
    fields[HTTPField.Name("Referrer-Policy")!] = "same-origin"
    fields[HTTPField.Name("Cross-Origin-Opener-Policy")!] = "same-origin"
    fields[HTTPField.Name("Cross-Origin-Resource-Policy")!] = "same-origin"
    fields[.cacheControl] = isCacheable ? "public, max-age=31536000, immutable" : "no-store"
    return fields
  }

  static func response(
    _ status: Int, _ text: String, contentType: String = "text/html; charset=utf-8"
  ) -> Response {
    Response(
      status: HTTPResponse.Status(code: status), headers: fields(contentType: contentType),
      body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
  }

  static func redirect(_ path: String) -> Response {
    var headers = fields(contentType: "text/plain; charset=utf-8")
    headers[.location] = path
    return Response(status: .seeOther, headers: headers, body: ResponseBody())
  }
}

extension HTTPField.Name {
  static let formToken = HTTPField.Name("X-Form-Token")!
  static let fetchSite = HTTPField.Name("Sec-Fetch-Site")!
}

/// The session's cookie.
struct SessionCookie {
  let usesTLS: Bool

  /// The `__Host-` prefix keeps other hosts of the domain from setting it; browsers want TLS for it.
  private var name: String { usesTLS ? "__Host-exzo" : "exzo" }

  func text(of request: Request) -> String? {
    for header in request.headers[values: .cookie] {
      for item in header.split(separator: ";") {
        let parts = item.trimmingCharacters(in: .whitespaces).split(
          separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 2, parts[0] == name, !parts[1].isEmpty { return String(parts[1]) }
      }
    }
    return nil
  }

  func set(_ text: String) -> String {
    "\(name)=\(text); Path=/; HttpOnly; SameSite=Lax\(usesTLS ? "; Secure" : "")"
  }

  var removal: String { self.set("") + "; Max-Age=0" }
}
