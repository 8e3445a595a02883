import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird

extension Console {
  func signIn(_ request: Request, from address: String, _ host: String) async throws -> Response {
    let query = FormFields(Array((request.uri.query ?? "").utf8))
    if request.method == .get || request.method == .head {
      if let text = cookie.text(of: request), try await plane.sessions.find(text) != nil {
        return ConsoleHeaders.redirect(Self.localPath(query["next"]))
      }
      return try form(next: query["next"], error: nil)
    }
    guard request.method == .post else {
      return ConsoleHeaders.response(405, errorText(405, "Sign in with the form."))
    }
    // Nobody is signed in to another's account by a foreign page.
    let scheme = settings.usesTLS ? "https" : "http"
    guard request.headers[.origin]?.lowercased() == "\(scheme)://\(host.lowercased())" else {
      return ConsoleHeaders.response(403, errorText(403, "The form was not sent by this Console."))
    }
    let fields = FormFields(try await body(of: request, upTo: 16_384))
    let key = (fields["key"] ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
    guard !key.isEmpty else { return try form(next: fields["next"], error: "Enter an API key.") }
    guard attempts.admits(address, at: plane.now) else {
      return try form(
        next: fields["next"], error: "Too many wrong keys from your address. Wait a minute.")
    }
    guard let (text, _) = try await plane.sessions.open(key: key, from: address) else {
      attempts.note(address, at: plane.now)
      return try form(next: fields["next"], error: "This key is wrong or revoked.")
    }
    var response = ConsoleHeaders.redirect(Self.localPath(fields["next"]))
    response.headers[.setCookie] = cookie.set(text)
    return response
  }

  private func form(next: String?, error: String?) throws -> Response {
    var values: [String: Any] = ["next": Self.localPath(next), "version": assets.version]
    values["error"] = error
    return ConsoleHeaders.response(
      error == nil ? 200 : 401, try assets.render("signin", values))
  }

  /// A path of this server, nothing that leads elsewhere.
  static func localPath(_ text: String?) -> String {
    guard let text, text.hasPrefix("/"), !text.hasPrefix("//"), !text.hasPrefix("/signin"),
      text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "\\") })
    else { return "/projects" }
    return text
  }
}
