import Foundation
import TestSupport
import Testing

/// A project on a platform, with its default branch.
struct Scene {
  let platform: Platform
  let project: String
  let main: String
  /// Of the default branch.
  let uri: String

  /// - Parameter sql: what it begins with.
  init(_ platform: Platform, name: String, sql: String? = nil) async throws {
    self.platform = platform
    let created = try platform.call("POST", "/projects", #"{"project":{"name":"\#(name)"}}"#)
    try #require(created.status == 201, "\(created.text)")
    project = created.string("project.id")
    main = created.string("branch.id")
    uri = created.string("connection_uris.0.connection_uri")
    try await platform.settle(project)
    if let sql { try platform.psql(uri, sql) }
  }

  /// The database's clock, as the API takes it; later commits are later than that.
  func now() async throws -> String {
    let time = try platform.value(
      uri,
      #"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
    try await Task.sleep(for: .milliseconds(20))
    return time
  }

  /// A call below the project, and the end of what it started.
  /// - Parameter status: what it must answer; `nil` leaves that to the caller.
  func post(_ path: String, _ body: String? = nil, status: Int? = 200) async throws
    -> Platform.Answer
  {
    let answer = try platform.call("POST", "/projects/\(project)\(path)", body)
    if let status { #expect(answer.status == status, "\(path): \(answer.text)") }
    if answer.status < 300 { try await platform.settle(project) }
    return answer
  }

  func rows(_ uri: String, _ sql: String) throws -> String { try platform.value(uri, sql) }
}
