import Foundation
import TestSupport
import Testing

/// The commands of docs/guides/disaster-recovery.md, as they stand there, on machines of their own.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct DisasterGuideTests {
  /// Code blocks that begin with ```` ```sh run ```` (before the loss) or ```` ```sh run-recovery ````.
  private func commands(_ kind: String) throws -> [String] {
    let text = try String(contentsOfFile: "docs/guides/disaster-recovery.md", encoding: .utf8)
    return text.components(separatedBy: "```sh \(kind)\n").dropFirst().compactMap {
      $0.components(separatedBy: "\n```").first
    }
  }

  private func splitServe(_ command: String) throws -> [String] {
    let words = command.replacing("\"", with: "").split(separator: " ").map(String.init)
    #expect(words.prefix(2) == ["exzo", "serve"], "\(command)")
    return Array(words.dropFirst(2))
  }

  @Test func theDisasterRecoveryGuideWorksAsItStands() async throws {
    let before = try commands("run")
    #expect(before.count == 6)
    let recovery = try #require(try commands("run-recovery").first)
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let files = FileManager.default
      for name in ["first", "second", "safe"] {
        try files.createDirectory(
          atPath: "\(directory)/\(name)", withIntermediateDirectories: true,
          attributes: [.posixPermissions: 0o711])
      }
      var names = [
        "$NEW_DIR": "\(directory)/second/data", "$DIR": "\(directory)/first/data",
        "$SECOND_STORE": "file://\(directory)/mirror", "$STORE": "file://\(directory)/store",
        "$SAFE": "\(directory)/safe",
      ]
      func arguments(_ command: String) throws -> [String] {
        var text = command
        for (name, value) in names.sorted(by: { $0.key.count > $1.key.count }) {
          text = text.replacing(name, with: value)
        }
        let all = try splitServe(text)
        // The directory is the platform's own.
        let place = try #require(all.firstIndex(of: "--data-dir"))
        return Array(all[..<place] + all[(place + 2)...])
      }
      let first = try Platform(
        directory: "\(directory)/first", arguments: try arguments(before[0]))
      try await first.start()
      let scene = try await DisasterScene(on: first)
      try await scene.write()
      for command in before.dropFirst() {
        let result = try shell(command, on: first, names, directory)
        print("\(command)\n\(result.output)\(result.errorOutput)")
        #expect(result.status == 0, "\(command): \(result.output)\(result.errorOutput)")
      }
      try first.lose(deletingData: true)
      names["$DIR"] = nil
      let second = try Platform(
        directory: "\(directory)/second", arguments: try arguments(recovery))
      try await second.start()
      defer { try? second.lose(deletingData: false) }  // processes only; errors were reported
      try await scene.check(on: second, uri: second.uri(scene.uri))
    }
  }

  /// Runs a command of the guide as an operator would, `exzo` in the path and the server known.
  private func shell(
    _ command: String, on machine: Platform, _ names: [String: String], _ directory: String
  ) throws -> CommandResult {
    let settings = names.map { "\($0.key.dropFirst())=\($0.value)" }
    let project = try machine.call("GET", "/projects").string("projects.0.id")
    let binaries = URL(fileURLWithPath: Platform.program).deletingLastPathComponent().path
    return try run(
      [
        "env", "PATH=\(binaries):/usr/bin:/bin", "HOME=\(machine.directory)",
        "EXZO_API_HOST=\(machine.url(""))", "EXZO_API_KEY=\(try machine.key)",
      ] + settings + [
        "sh", "-ec",
        "cd \(directory)/safe; [ -e .set ] || { exzo set-context --project-id \(project) && touch .set; }; "
          + command,
      ], allowFailure: true)
  }
}
