import DurableIO
import Foundation
import ObjectStorage

/// Opens the object store that a URL names: `file:///path`.
public func openObjectStore(
  _ url: String, fileSystem: any FileSystem
) throws -> any ObjectStore {
  guard let parsed = URL(string: url), let scheme = parsed.scheme else {
    throw ComputeError(
      .environment, "open the object store '\(url)': not a URL",
      hint: "use file:///absolute/path")
  }
  switch scheme {
  case "file":
    guard parsed.path.hasPrefix("/"), parsed.path.count > 1 else {
      throw ComputeError(
        .environment, "open the object store '\(url)': the path is not absolute",
        hint: "use file:///absolute/path")
    }
    return try LocalObjectStore(
      root: parsed.path, fileSystem: fileSystem, threads: BlockingThreads(count: 4))
  default:
    throw ComputeError(
      .environment, "open the object store '\(url)': no store of kind '\(scheme)' is built in",
      hint: "use file:///absolute/path")
  }
}

/// Runs blocking work off the cooperative pool, on a thread of its own.
func blocking<Value: Sendable>(
  _ work: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await withThread(named: "blocking", work)
}
