import ArgumentParser
import DurableIO
import Foundation

/// `exzo store mirror-accept`
struct MirrorAcceptCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mirror-accept",
    abstract: "Say that the first store is right: the second one may lose what is gone from it.",
    discussion: """
      Where most of what both stores held is gone from the first one, nothing is deleted from the second one
      until this is said, or most of it is back. Say it where you deleted a large project or shortened its
      retention. A running serve follows within two passes, another one when it is started. It is for serve's
      mirror: 'exzo store mirror' deletes nothing, and needs no such word.
      """)

  @Option(help: "The data directory of serve.") var dataDir: String

  func run() async throws {
    guard let found = MirrorService.lastStatus(dataDir)?.lossFoundAt else {
      throw ServeError(
        "accept what the first store lost: the mirror of '\(dataDir)' has found no loss",
        hint: "'exzo store mirror-status --data-dir \(dataDir)' says how the copy stands; "
          + "'exzo store mirror' deletes nothing, and needs no such word")
    }
    try SystemFileSystem().replaceFile(
      MirrorService.acceptFile(dataDir), with: Array("\(found)".utf8),
      operation: "accept mirror's loss")
    print("What the first store lost is accepted: the second one follows it again.")
  }
}
