import DurableIO
import Foundation
import TestSupport
import Testing

/// The command that a page shows beside a form is one that the CLI takes.
@Suite struct ShownCommandTests {
  private static var root: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().path
  }

  /// Of all templates, with values in place of names: what is a moment is an LSN, all else a number.
  private static func commands() throws -> [String] {
    let pages = "\(root)/Sources/Console/Pages"
    return try FileManager.default.contentsOfDirectory(atPath: pages).flatMap { name in
      let text = try String(contentsOfFile: "\(pages)/\(name)", encoding: .utf8)
      return text.matches(of: #/data-cli="([^"]+)"/#).map { String($0.1) }
    }.map { command in
      command
        .replacing(#/\{\{#(\w+)\}\}(.*?)\{\{/\w+\}\}\{\{\^.*?\{\{/\w+\}\}/#) { String($0.2) }
        .replacing(#/\{[\w.]*lsn\}/#, with: "0/1").replacing("{format}", with: "custom").replacing(
          #/\{+[\w.]+\}+/#, with: "1")
    }
  }

  /// All at once: each tries several times to reach a server that is not there.
  @Test func everyCommandThatAPageShowsIsTakenByTheCommandLine() async throws {
    let commands = try Self.commands()
    #expect(commands.count > 25)
    let threads = BlockingThreads(count: 16)
    defer { threads.shutdown() }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for command in commands {
        group.addTask { try await threads.run { try Self.requireTaken(command) } }
      }
      try await group.waitForAll()
    }
  }

  private static func requireTaken(_ command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    #expect(words.first == "exzo", "\(command)")
    // Nobody listens there: a command that is understood gets as far as that.
    let result = try run(
      [Platform.program] + words.dropFirst(),
      environment: [
        "HOME": "/nonexistent", "EXZO_API_HOST": "http://127.0.0.1:1", "EXZO_API_KEY": "k",
      ], allowFailure: true)
    #expect(result.status == 1, "\(command): \(result.errorOutput)")
    #expect(result.errorOutput.contains("connect to"), "\(command): \(result.errorOutput)")
  }
}
