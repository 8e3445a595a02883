import Foundation
import Testing

@testable import APITypes

@Suite struct RFC3339Tests {
  @Test(arguments: [
    ("2026-11-23T10:00:00Z", 1_795_428_000.0), ("2026-11-23t10:00z", 1_795_428_000.0),
    ("2026-11-23 12:00:00.5+02:00", 1_795_428_000.5), ("1970-01-01T00:00:00-00:01", 60),
    ("1969-12-31T23:59:59.25Z", -0.75), ("2000-02-29T23:59:60Z", 951_868_800),
  ]) func parsesWhatTheRFCAllows(text: String, seconds: Double) {
    #expect(RFC3339.date(text)?.timeIntervalSince1970 == seconds)
  }

  @Test(arguments: [
    "", "now", "2026-11-23", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z",
    "2026-11-23T10:00:00", "2026-11-23T10:00:00Zx", "2026-11-23T10:00:00.Z", "２026-11-23T10:00:00Z",
    "2026-11-23T10:00:00+25:00", "0000-01-01T00:00:00Z", "2026-11-23T10:00:61Z",
  ]) func refusesWhatItDoesNot(text: String) {
    #expect(RFC3339.date(text) == nil)
  }

  @Test func printsWhatFoundationPrintsAndReadsItBack() throws {
    var random = SystemRandomNumberGenerator()
    let formatter = ISO8601DateFormatter()
    for _ in 0..<2000 {
      let date = Date(
        timeIntervalSince1970: Double(
          Int.random(in: -30_000_000_000...200_000_000_000, using: &random)))
      let text = RFC3339.text(date)
      if date.timeIntervalSince1970 > -10_000_000_000 {
        #expect(text == formatter.string(from: date))
      }
      #expect(RFC3339.date(text) == date)
    }
    let precise = try #require(RFC3339.date("2026-11-23T10:00:00.123456Z"))
    #expect(RFC3339.text(precise) == "2026-11-23T10:00:00.123456Z")
    #expect(RFC3339.text(.distantFuture).count == 20)
    #expect(RFC3339.text(Date(timeIntervalSince1970: 1e300)).hasPrefix("9999-12-31"))
  }
}

@Suite struct APICodingTests {
  private func error<Value: Decodable>(_ json: String, as type: Value.Type) -> String? {
    do {
      _ = try APICoding.decode(type, from: Data(json.utf8))
      return nil
    } catch { return "\(error)" }
  }

  @Test func errorsNameFieldValueAndWhatIsAllowed() {
    typealias Body = API.BranchCreateRequest
    #expect(
      error(#"{"branch":{"parent_timestamp":"yesterday"}}"#, as: Body.self)
        == "'branch.parent_timestamp' is 'yesterday', must be a time like 2026-11-23T10:00:00Z")
    #expect(
      error(#"{"endpoints":[{"type":"fast"}]}"#, as: Body.self)
        == "'endpoints[0].type' is 'fast', must be one of 'read_only', 'read_write'")
    #expect(error(#"{"endpoints":[{}]}"#, as: Body.self) == "'endpoints[0].type' is required")
    #expect(error(#"{"endpoints":{}}"#, as: Body.self) == "'endpoints' must be an array")
    #expect(error(#"{"branch":{"name":5}}"#, as: Body.self) == "'branch.name' must be a string")
    #expect(error(#"{"branch""#, as: Body.self) == "the body is not valid JSON")
    #expect(error("[]", as: Body.self) == "the body must be an object of the right shape")
    #expect(error(#"{"unknown":[1,{}],"branch":{"x":null}}"#, as: Body.self) == nil)
  }

  /// Foundation says of them that the text is no JSON.
  @Test func numbersThatDoNotFitAreNamedWithTheirField() {
    for (fields, message) in [
      (#""hour":3.5"#, "'schedule[1].hour' is 3.5, must be a whole number from 0 to 23"),
      (#""day":1e30"#, "'schedule[1].day' is 1e+30, must be a whole number from 1 to 7"),
      (
        #""retention_seconds":3600.5"#,
        "'schedule[1].retention_seconds' is 3600.5, must be a whole number from 3600 to 3153600000"
      ),
      (#""month":"5""#, "'schedule[1].month' must be a whole number"),
    ] {
      let json = #"{"schedule":[{"frequency":"daily"},{"frequency":"weekly",\#(fields)}]}"#
      #expect(error(json, as: API.BackupSchedule.self) == message)
    }
    #expect(
      error(#"{"schedule":[{"frequency":"daily","hour":3.0}]}"#, as: API.BackupSchedule.self)
        == nil)
    // Others have no range of their own; numbers that may be fractions are not taken for the one.
    struct Body: Codable {
      var units: Double
      var jobs: [Int]
      var whole: Double
    }
    #expect(
      error(#"{"units":0.25,"jobs":[1,2.5],"whole":0.5}"#, as: Body.self)
        == "'jobs[1]' is 2.5, must be a whole number")
    #expect(
      error(#"{"units":0.25,"jobs":[99999999999999999999],"whole":0.5}"#, as: Body.self)
        == "'jobs[0]' is 1e+20, must be a whole number")
    #expect(error("3.5", as: Int.self) == "the body is 3.5, must be a whole number")
    #expect(error(#"{"units":0.25"#, as: Body.self) == "the body is not valid JSON")
    #expect(error(#"{"units":0.25,"jobs":[],"whole":1}"#, as: Body.self) == nil)
  }

  @Test func aScheduleComesBackAsItWent() throws {
    var item = API.BackupScheduleItem(
      frequency: .yearly, hour: 1, day: 2, month: 3, retentionSeconds: 4000, kind: .dump,
      timeZone: "Europe/Berlin")
    item.id = "i"
    item.nextRunAt = Date(timeIntervalSince1970: 1)
    item.lastRunAt = Date(timeIntervalSince1970: 2)
    item.lastRunFor = Date(timeIntervalSince1970: 3)
    item.lastRunStatus = .late
    item.lastRunError = "e"
    item.retryAt = Date(timeIntervalSince1970: 4)
    for item in [item, API.BackupScheduleItem(frequency: .hourly)] {
      #expect(try APICoding.decode(from: try APICoding.encode(item)) == item)
    }
  }

  @Test func patchTellsAbsentFromNullFromValue() throws {
    func expiry(_ json: String) throws -> API.Patch<Date> {
      try APICoding.decode(API.BranchUpdateRequest.self, from: Data(json.utf8)).branch.expiresAt
    }
    #expect(try expiry(#"{"branch":{}}"#) == .absent)
    #expect(try expiry(#"{"branch":{"expires_at":null}}"#) == .null)
    let date = Date(timeIntervalSince1970: 1_795_428_000)
    #expect(try expiry(#"{"branch":{"expires_at":"2026-11-23T10:00:00Z"}}"#) == .value(date))
    for patch in [API.Patch<Date>.absent, .null, .value(date)] {
      let body = API.BranchUpdateRequest(branch: API.BranchUpdate(expiresAt: patch))
      let json = try APICoding.encode(body)
      #expect(try APICoding.decode(API.BranchUpdateRequest.self, from: json) == body)
    }
    let none = try APICoding.encode(API.BranchUpdateRequest(branch: API.BranchUpdate(name: "a")))
    #expect(String(decoding: none, as: UTF8.self) == #"{"branch":{"name":"a"}}"#)
  }

  @Test func mapsKeepTheirKeysAsWritten() throws {
    let json = #"{"annotation_value":{"my_Key":"v"},"branch":{"name":"a"}}"#
    let body = try APICoding.decode(API.BranchCreateRequest.self, from: Data(json.utf8))
    #expect(body.annotationValue == ["my_Key": "v"])
    #expect(String(decoding: try APICoding.encode(body), as: UTF8.self) == json)
  }
}
