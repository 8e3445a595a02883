import APITypes
import Catalog
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

extension Console {
  /// How often the catalog is asked; milliseconds.
  private static let interval = 700
  /// Then the browser connects again, so that no stream outlives its session by much; seconds.
  private static let longest = 300

  /// Server-sent events: `change` with the project's unfinished operations whenever anything of it
  /// changed, and `over` when the session is.
  func events(_ context: PageContext, _ sessionText: String) -> Response {
    var headers = ConsoleHeaders.fields(contentType: "text/event-stream; charset=utf-8")
    headers[HTTPField.Name("X-Accel-Buffering")!] = "no"
    let project = context.query["project"] ?? ""
    return Response(
      status: .ok, headers: headers,
      body: ResponseBody { writer in
        try await writer.write(ByteBuffer(string: "retry: 1000\n\n"))
        let end = ContinuousClock.now + .seconds(Self.longest)
        var last: String?
        var sinceBeat = 0
        while ContinuousClock.now < end, !Task.isCancelled {
          guard try await plane.sessions.find(sessionText) != nil else {
            try await writer.write(ByteBuffer(string: "event: over\ndata: {}\n\n"))
            break
          }
          let mark = await mark(project, context)
          if mark != last {
            let text = await operations(project, context)
            try await writer.write(ByteBuffer(string: "event: change\ndata: \(text)\n\n"))
            last = mark
          }
          sinceBeat += 1
          if sinceBeat >= 15 {
            try await writer.write(ByteBuffer(string: ": still here\n\n"))
            sinceBeat = 0
          }
          try await Task.sleep(for: .milliseconds(Self.interval))
        }
        try await writer.finish(nil)
      })
  }

  private func mark(_ project: String, _ context: PageContext) async -> String {
    do {
      return try await plane.sessions.changeMark(
        of: ProjectID(project), account: context.session.caller.account.id)
    } catch {
      // A project that is gone, or metadata that is away for a moment: nothing is told.
      return ""
    }
  }

  /// JSON in one line.
  private func operations(_ project: String, _ context: PageContext) async -> String {
    do {
      let list: API.OperationListResponse = try await context.get(
        ["projects", project, "operations"], ["limit": "20"])
      let unfinished = list.operations.filter { [.scheduling, .running].contains($0.status) }
      let failed = list.operations.first { $0.status == .failed }
      let answer = LiveState(
        unfinished: unfinished.map { LiveState.Item(id: $0.id, kind: $0.kind ?? "") },
        lastFailed: failed?.id)
      return String(decoding: try APICoding.encode(answer), as: UTF8.self)
    } catch {
      return #"{"unfinished":[]}"#
    }
  }
}

/// What a page is told of a project's operations.
private struct LiveState: Codable {
  struct Item: Codable {
    var id: String
    var kind: String
  }
  var unfinished: [Item]
  var lastFailed: String?

  enum CodingKeys: String, CodingKey {
    case unfinished
    case lastFailed = "last_failed"
  }
}
