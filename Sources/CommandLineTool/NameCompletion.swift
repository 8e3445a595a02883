import APIClient
import APITypes

/// What a shell offers for the names of things that the server knows.
///
/// A completion has nowhere to say what went wrong, so every failure is an empty list: the server is
/// down, the key is missing, there is more than one project to choose from.
public struct NameCompletion: Sendable {
  /// What the shell can show.
  public enum Shell: Sendable {
    /// Each offer is one word; quoting is the shell's.
    case plain
    /// `zsh` reads `word:description`, so a colon in a word is escaped.
    case described
  }

  private let client: APIClient
  private let context: SavedContext
  private let shell: Shell

  /// The longest that a shell is kept waiting for an answer, in seconds.
  public static let patience: Int64 = 2

  public init(client: APIClient, context: SavedContext, shell: Shell) {
    self.client = client
    self.context = context
    self.shell = shell
  }

  /// Ids of the account's projects.
  public func projects() async -> [String] {
    let request = APIRequest(.get, ["projects"], query: [("limit", "400")])
    // See the type: a failure is an empty list.
    guard let answer = try? await client.send(request, as: API.ProjectListResponse.self) else {
      return []
    }
    return answer.value.projects.map { offer($0.id, $0.name) }
  }

  /// Names of the branches of the project that `words`, the command line so far, is about.
  public func branches(_ words: [String]) async -> [String] {
    let lookup = ResourceLookup(client: client)
    // See the type: a failure is an empty list.
    guard
      let project = try? await lookup.project(
        given: Self.value(of: "--project-id", in: words), saved: context.projectID),
      let branches = try? await lookup.branches(project: project).value
    else { return [] }
    return branches.map { Self.isWord($0.name) ? offer($0.name, $0.id) : offer($0.id, $0.name) }
  }

  /// What follows an option, as the next word or behind `=`.
  static func value(of option: String, in words: [String]) -> String? {
    for (index, word) in words.enumerated() {
      if word == option, index + 1 < words.count { return words[index + 1] }
      if word.hasPrefix("\(option)=") { return String(word.dropFirst(option.count + 1)) }
    }
    return nil
  }

  /// Whether a shell takes `name` as one word, whatever its quoting.
  private static func isWord(_ name: String) -> Bool {
    name.unicodeScalars.allSatisfy {
      $0.properties.isAlphabetic || ("0"..."9").contains($0) || "-_./:".unicodeScalars.contains($0)
    }
  }

  private func offer(_ word: String, _ description: String) -> String {
    switch shell {
    case .plain: word
    case .described:
      "\(word.replacing(":", with: "\\:")):\(description.filter { !$0.isNewline })"
    }
  }
}
