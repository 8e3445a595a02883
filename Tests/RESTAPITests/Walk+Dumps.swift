import Foundation
import Testing

extension Walk {
  /// Dumps, their download in ranges, and what comes back from the past.
  mutating func dumps() async throws {
    let list = "/projects/{project_id}/dumps"
    let one = "\(list)/{dump_id}"
    let branch = values["branch_id"] ?? ""
    let made = try await call(
      "POST", list, #"{"branches":["\#(branch)"],"databases":"all","verify":true}"#, status: 201)
    values["dump_id"] = made.text("dumps", "0", "id")
    for body in [
      #"{"branches":"some","databases":"all"}"#, #"{"branches":"all","databases":7}"#,
      #"{"branches":"all","databases":"all","lsn":"0/1"}"#, #"{"databases":"all"}"#,
      #"{"branches":["\#(branch)"],"databases":"all","jobs":2}"#,
    ] {
      try await call("POST", list, body, status: 400)
    }
    let found = try await call("GET", list, query: "?limit=1000")
    #expect((found.object["dumps"] as? [Any])?.isEmpty == false)
    let shown = try await call("GET", one)
    #expect(shown.text("dump", "status") == "finished")
    #expect(shown.text("dump", "verification", "status") == "passed")
    try await ranges()
    try await call("POST", "\(one)/verify", status: 201)
    try await call(
      "POST", "\(one)/restore", #"{"branch_id":"\#(branch)","database":"copy"}"#, status: 201)
    try await call(
      "POST", "\(one)/restore", #"{"branch_id":"br-none","database":"copy"}"#, status: 404)
    let recover = "/projects/{project_id}/branches/{branch_id}"
    let now = "2999-01-01T00:00:00Z"
    try await call(
      "POST", "\(recover)/recover_table",
      #"{"database":"exzodb","table":"t","as":"u","timestamp":"\#(now)"}"#, status: 400)
    try await call(
      "POST", "\(recover)/recover_table", #"{"database":"exzodb","table":"t"}"#, status: 400)
    try await call(
      "POST", "\(recover)/recover_database", #"{"database":"exzodb","timestamp":"\#(now)"}"#,
      status: 400)
    try await call(
      "PUT", "\(recover)/backup_schedule",
      #"{"schedule":[{"frequency":"daily","hour":3,"kind":"dump"}]}"#)
    try await call("PUT", "\(recover)/backup_schedule", #"{"schedule":[]}"#)
    try await call("DELETE", one)
    try await call("DELETE", one)
    try await call("GET", one, status: 404)
    let never = "/api/v2/projects/\(values["project_id"] ?? "")/dumps/dump-none"
    #expect(try await api.send("DELETE", never).status == 404)
  }

  private func ranges() async throws {
    let path = "/api/v2/projects/\(values["project_id"] ?? "")/dumps/\(values["dump_id"] ?? "")"
    let whole = try await api.send("GET", "\(path)/download")
    #expect(whole.status == 200 && whole.headers["Accept-Ranges"] as? String == "bytes")
    #expect((whole.headers["Content-Disposition"] as? String)?.contains("exzodb-dump-") == true)
    let size = whole.data.count
    let cases: [(String, Int, Range<Int>)] = [
      ("bytes=0-0", 206, 0..<1), ("bytes=3-", 206, 3..<size), ("bytes=-5", 206, (size - 5)..<size),
      ("bytes=2-99999999999999999999", 206, 2..<size), ("bytes=\(size)-", 416, 0..<0),
      ("bytes=0-1,3-4", 200, 0..<size), ("lines=1-2", 200, 0..<size), ("bytes=5-2", 200, 0..<size),
    ]
    for (header, status, range) in cases {
      let answer = try await api.send("GET", "\(path)/download", headers: ["Range": header])
      #expect(answer.status == status, "\(header)")
      #expect(answer.data == whole.data.subdata(in: range), "\(header)")
    }
    for part in ["download", "globals"] { try await head("\(path)/\(part)") }
    let changed = try await api.send(
      "GET", "\(path)/download", headers: ["Range": "bytes=0-0", "If-Range": "\"other\""])
    #expect(changed.status == 200 && changed.data == whole.data)
    let globals = try await api.send("GET", "\(path)/globals")
    #expect(String(decoding: globals.data, as: UTF8.self).contains("CREATE ROLE"))
    #expect(try await api.send("GET", "\(path)/download", key: "wrong").status == 401)
  }

  /// As GET, without the body, of the whole file always.
  private func head(_ path: String) async throws {
    func field(_ name: String, of answer: APIInstallation.Answer) -> String? {
      answer.headers.first { "\($0.key)".lowercased() == name }?.value as? String
    }
    let whole = try await api.send("GET", path)
    for range in [[:], ["Range": "bytes=0-0"], ["Range": "bytes=\(whole.data.count)-"]] {
      let told = try await api.send("HEAD", path, headers: range)
      #expect(told.status == 200 && told.data.isEmpty, "\(path) \(range): \(told.status)")
      #expect(field("content-length", of: told) == "\(whole.data.count)", "\(path)")
      #expect(field("accept-ranges", of: told) == "bytes" && field("etag", of: told) != nil)
      for name in ["content-type", "etag", "content-disposition"] {
        #expect(field(name, of: told) == field(name, of: whole), "\(path) \(name)")
      }
    }
    #expect(try await api.send("HEAD", path, key: "wrong").status == 401)
    #expect(try await api.send("HEAD", "\(path)/none").status == 404)
  }
}
