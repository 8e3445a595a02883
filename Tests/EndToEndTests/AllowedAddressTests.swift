import Foundation
import TestSupport
import Testing

/// `allowed_ips` hold for everybody who brings SQL: by the address of whoever asks, not of who carries it.
@Suite(.serialized, .heavy) struct AllowedAddressTests {
  private struct Answer {
    var status: String
    var text: String
  }

  /// SQL through the API, as the Console runs it, asked from one of this machine's own addresses.
  private func query(
    _ scene: Scene, from address: String, path: String = "query", more: String = ""
  ) throws -> Answer {
    let result = try scene.platform.curl(
      [
        "--interface", address, "-X", "POST", "-w", "\n%{http_code}", "-H",
        "Authorization: Bearer \(try scene.platform.key)", "--data-binary", "@-",
        scene.platform.url("/api/v2/projects/\(scene.project)/branches/\(scene.main)/query"),
      ],
      input:
        #"{"database_name":"exzodb","role_name":"exzodb_owner","query":"SELECT 40 + 2 AS n"\#(more)}"#
    )
    let lines = result.output.split(separator: "\n")
    return Answer(status: String(lines.last ?? ""), text: lines.dropLast().joined())
  }

  @Test func sqlThroughTheAPIIsHeldToTheCallersAddress() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "fenced")
      let (inside, outside) = ("127.0.0.3", "127.0.0.1")
      for address in [inside, outside] {
        #expect(try query(scene, from: address).text.contains("42"))
      }
      let lsn = try platform.value(scene.uri, "SELECT pg_current_wal_insert_lsn()")
      try platform.psql(scene.uri, "CREATE TABLE later (n int)")
      let set = try platform.call(
        "PATCH", "/projects/\(scene.project)",
        #"{"project":{"settings":{"allowed_ips":{"ips":["\#(inside)"]}}}}"#)
      #expect(set.status == 200, "\(set.text)")
      // Serve itself connects from the address outside, and is let in for one who is inside.
      #expect(try query(scene, from: inside).text.contains("42"))
      for moment in ["", #","lsn":"\#(lsn)""#] {
        let refused = try query(scene, from: outside, more: moment)
        #expect(refused.status == "412", "\(refused.text)")
        #expect(refused.text.contains("address_not_allowed"), "\(refused.text)")
        #expect(refused.text.contains("connections from \(outside) are not allowed"))
      }
      #expect(try query(scene, from: inside, more: #","lsn":"\#(lsn)""#).text.contains("42"))
      let direct = try platform.psql(scene.uri, "SELECT 1", allowFailure: true)
      #expect(direct.errorOutput.contains("connections from \(outside) are not allowed"))
    }
  }

  /// What serve says of itself, nobody else can: not the option, and not a moment of the past.
  @Test func nobodyElseCanNameAnAddressOrGoRoundByThePast() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "forged")
      let lsn = try platform.value(scene.uri, "SELECT pg_current_wal_insert_lsn()")
      try platform.psql(scene.uri, "CREATE TABLE later (n int)")
      let past = try platform.call(
        "GET",
        "/projects/\(scene.project)/connection_uri?branch_id=\(scene.main)&database_name=exzodb"
          + "&role_name=exzodb_owner&lsn=\(lsn.replacing("/", with: "%2F"))"
      ).string("uri")
      #expect(try platform.value(past, "SELECT 1") == "1")
      _ = try platform.call(
        "PATCH", "/projects/\(scene.project)",
        #"{"project":{"settings":{"allowed_ips":{"ips":["9.9.9.9"]}}}}"#)
      let session = try platform.psql(past, "SELECT 1", allowFailure: true)
      #expect(session.errorOutput.contains("are not allowed"), "\(session)")
      for claim in [
        "x/9.9.9.9", "9.9.9.9", "/9.9.9.9", String(repeating: "a", count: 32) + "/9.9.9.9",
      ] {
        let forged = scene.uri + "%20exzo_client%3A" + claim.replacing("/", with: "%2F")
        let result = try platform.psql(forged, "SELECT 1", allowFailure: true)
        #expect(result.errorOutput.contains("for this server's own use"), "\(claim): \(result)")
      }
    }
  }
}
