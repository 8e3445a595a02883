import APITypes
import ControlPlane
import Foundation
import RESTAPI

/// A page that was asked for by someone who is signed in.
struct PageContext: Sendable {
  var session: ConsoleSessions.Session
  var api: LocalAPI
  var address: String
  /// As the browser wrote it, decoded.
  var path: [String]
  var query: [String: String]
  /// Scheme and host, for examples of calls.
  var origin: String

  /// - Throws: ``PageError`` with the API's own words.
  func get<Answer: Decodable>(
    _ path: [String], _ query: [String: String] = [:], as type: Answer.Type = Answer.self
  ) async throws -> Answer {
    let text = path.map { "/" + Self.escape($0) }.joined()
    let parameters = query.sorted { $0.key < $1.key }.map {
      "\(Self.escape($0.key))=\(Self.escape($0.value))"
    }.joined(separator: "&")
    let answer = await api.send(
      "GET", text, query: parameters, as: session.caller, from: address, isCounted: false)
    guard answer.isSuccess else {
      let body = try? APICoding.decode(API.ErrorBody.self, from: answer.body)
      // An answer that is no JSON still has its status.
      throw PageError(
        status: answer.status, message: body?.message ?? "status \(answer.status)",
        code: body?.code ?? "")
    }
    return try APICoding.decode(Answer.self, from: answer.body)
  }

  /// RFC 3986's unreserved characters stay.
  static func escape(_ text: String) -> String {
    let allowed = CharacterSet(
      charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
    return text.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
  }
}

/// Why a page cannot be shown.
struct PageError: Error {
  var status: Int
  var message: String
  var code: String
}
