import APIClient
import ArgumentParser
import CommandLineTool
import Foundation

/// `exzo completion`: what a shell reads to complete this program's words.
struct CompletionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completion", abstract: "Prints the script that completes exzo in a shell.",
    discussion: """
      Put into the shell's start-up file, or say once:
        bash  ~/.bashrc                   source <(exzo completion bash)
        zsh   ~/.zshrc, after compinit    source <(exzo completion zsh)
        fish  ~/.config/fish/config.fish  exzo completion fish | source
      Projects and branches are completed from the server that commands would talk to.
      """)

  enum Shell: String, ExpressibleByArgument, CaseIterable {
    case bash, zsh, fish
  }

  @Argument(help: "bash, zsh or fish.") var shell: Shell

  func run() {
    let script =
      switch shell {
      case .bash: ExzoCommand.completionScript(for: .bash)
      case .zsh: ExzoCommand.completionScript(for: .zsh)
      case .fish: ExzoCommand.completionScript(for: .fish)
      }
    print(script, terminator: script.hasSuffix("\n") ? "" : "\n")
  }
}

extension CompletionKind {
  /// Names of branches.
  static let branches = CompletionKind.custom { words, _, _ in
    await NameCompletion.here()?.branches(words) ?? []
  }

  /// Ids of projects.
  static let projects = CompletionKind.custom { _, _, _ in
    await NameCompletion.here()?.projects() ?? []
  }
}

extension NameCompletion {
  /// For the server and the context of the command that is being typed; `nil` where there is none.
  fileprivate static func here() -> NameCompletion? {
    let environment = ProcessInfo.processInfo.environment
    // A shell that waits for words cannot show why there are none.
    guard let location = try? ServerLocator(environment: environment).locate(), location.key != nil,
      let transport = try? location.transport(timeoutSeconds: NameCompletion.patience),
      let context = try? SavedContext.load(
        from: FileManager.default.currentDirectoryPath, home: environment["HOME"])
    else { return nil }
    return NameCompletion(
      client: APIClient(
        server: location.host, key: location.key, transport: transport,
        // What the server asks to try again later is not waited for.
        pause: { _ in throw CancellationError() }), context: context,
      shell: CompletionShell.requesting == .zsh ? .described : .plain)
  }
}
