import APITypes
import Catalog
import ControlPlane
import Foundation
import HTTPTypes

extension RouteTable {
  private static let list = "/projects/{project_id}/dumps"
  private static let one = "/projects/{project_id}/dumps/{dump_id}"
  private static let branch = "/projects/{project_id}/branches/{branch_id}"

  /// Dumps, their restores, and what comes back from the past table by table.
  static func dumps(_ plane: ControlPlane) -> [Route] {
    dumpLists(plane) + oneDump(plane) + dumpFiles(plane) + comebacks(plane)
  }

  private static func dumpLists(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", list, "createDumps", "Dumps databases of branches, at head or at a past moment",
        body: API.DumpRequest.self, status: 201
      ) { request in
        try await plane.dumps.create(
          try request.decode(), project: request.project, account: request.account)
      },
      Route(
        "GET", list, "listDumps", "Lists dumps, newest first", query: [.cursor, .limit(1000)]
      ) { request in
        let found = try await plane.dumps.list(
          project: request.project, account: request.account,
          page: try request.page(maximum: 1000, default: 100))
        return API.DumpsResponse(
          dumps: found.dumps, pagination: try Cursor.text(found.next).map { .init(cursor: $0) })
      },
    ]
  }

  private static func oneDump(_ plane: ControlPlane) -> [Route] {
    [
      Route("GET", one, "getDump", "Shows a dump, how far it is, and what verification found") {
        request in
        API.DumpResponse(
          dump: try await plane.dumps.get(
            request.dump, project: request.project, account: request.account))
      },
      Route("DELETE", one, "deleteDump", "Cancels a dump that is being made, and deletes it") {
        request in
        try await plane.dumps.delete(
          request.dump, project: request.project, account: request.account)
      },
      Route(
        "POST", "\(one)/verify", "verifyDump",
        "Restores a dump into a scratch branch and compares it with its source", status: 201
      ) { request in
        try await plane.dumps.verify(
          request.dump, project: request.project, account: request.account)
      },
      Route(
        "POST", "\(one)/restore", "restoreDump",
        "Restores a dump, or some tables of it, into a database of a branch",
        body: API.DumpRestoreRequest.self, status: 201
      ) { request in
        try await plane.dumps.restore(
          request.dump, try request.decode(), project: request.project, account: request.account)
      },
    ]
  }

  private static func dumpFiles(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        file: "\(one)/download", "downloadDump",
        "The dump: an archive, a tar of its directory, or SQL; ranges work"
      ) { request in
        let download = try await plane.dumps.download(
          request.dump, project: request.project, account: request.account)
        var answer = StreamedAnswer(
          size: download.file.size, contentType: Self.contentType(download.dump.format),
          entityTag: download.dump.sha256 ?? download.dump.id, range: request.range,
          ifRange: request.ifRange, read: { try await download.file.read(from: $0, to: $1) },
          count: { try await plane.dumps.count($0, of: download) })
        answer.headers[.contentDisposition] =
          "attachment; filename=\"\(download.dump.fileName)\""
        try await answer.checkBeginning()
        return answer
      },
      Route(
        file: "\(one)/globals", "getDumpGlobals",
        "The roles of the dump's cluster as SQL, without passwords"
      ) { request in
        let text = Array(
          try await plane.dumps.globals(
            request.dump, project: request.project, account: request.account
          ).utf8)
        return StreamedAnswer(
          size: text.count, contentType: "application/sql; charset=utf-8",
          entityTag: "globals-\(request.dump)", range: request.range, ifRange: request.ifRange,
          read: { Array(text[$0..<$1]) }, count: { _ in })
      },
    ]
  }

  private static func contentType(_ format: API.DumpFormat) -> String {
    switch format {
    case .custom: "application/octet-stream"
    case .directory: "application/x-tar"
    case .plain: "application/sql"
    }
  }

  private static func comebacks(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", "\(branch)/recover_table", "recoverTable",
        "Brings a table, or some of its rows, back from a past moment; the branch stays as it is",
        body: API.RecoverTableRequest.self, status: 201
      ) { request in
        try await plane.dumps.recover(
          try request.decode(API.RecoverTableRequest.self), branch: request.branch,
          project: request.project, account: request.account)
      },
      Route(
        "POST", "\(branch)/recover_database", "recoverDatabase",
        "Brings a database back from a past moment under a name that is free",
        body: API.RecoverDatabaseRequest.self, status: 201
      ) { request in
        try await plane.dumps.recover(
          try request.decode(API.RecoverDatabaseRequest.self), branch: request.branch,
          project: request.project, account: request.account)
      },
    ]
  }
}
