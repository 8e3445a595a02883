import DurableIO
import Foundation
import Logging
import ObjectStorage

/// Opens the object store that a URL names.
///
/// `file:///path` or `s3://bucket/prefix?endpoint=…&region=…&style=…&ca=…` (credentials from
/// `AWS_*`), and for both:
/// - `master-key=FILE` or `master-key-command=COMMAND`: encrypted with the key from there;
/// - `cache=DIRECTORY` and `cache-size=BYTES`: what is read is kept on the local disk;
/// - `mirror=URL`: what cannot be read from the store is read from this copy of it.
///
/// Opening asks the store nothing. Blocks the thread for local files.
/// - Parameter project: whose key seals what is put, where the store is encrypted.
/// - Throws: ``ComputeError``, or `ObjectStorageError` with code `.misconfigured`.
public func openObjectStore(
  _ url: String, fileSystem: any FileSystem, project: String = "",
  environment: [String: String] = ProcessInfo.processInfo.environment
) throws -> any ObjectStore {
  let options = try ObjectStoreURL(url)
  var store = try openBareStore(options, fileSystem: fileSystem, environment: environment)
  if let mirror = options["mirror"] {
    let second = try openBareStore(
      ObjectStoreURL(mirror), fileSystem: fileSystem, environment: environment)
    store = MirroredObjectStore(store, second: second) { key in
      Logger(label: "store").error(
        "an object is damaged, its copy in the mirror is read", metadata: ["object": "\(key)"])
    }
  }
  if let directory = options["cache"], !options.isLocal {
    store = try CachedObjectStore(
      store, directory: directory,
      limit: options["cache-size"].flatMap(UInt64.init) ?? ObjectStoreURL.standardCacheSize)
  }
  if let source = options.masterKey {
    store = try EncryptedObjectStore(
      store, masterKey: source, project: project, scratch: try options.scratch,
      fileSystem: fileSystem)
  }
  return store
}

/// The store itself, without cache, mirror and encryption: what lies in it as it lies there.
public func openBareStore(
  _ options: ObjectStoreURL, fileSystem: any FileSystem, environment: [String: String]
) throws -> any ObjectStore {
  if options.isLocal {
    return try LocalObjectStore(
      root: options.path, fileSystem: fileSystem, threads: BlockingThreads(count: 4))
  }
  return try S3ObjectStore(
    location: S3Location(url: options.url, environment: environment),
    credentials: S3Credentials(environment: environment, url: options.url))
}

/// A store's URL with its parameters.
public struct ObjectStoreURL: Sendable {
  public static let standardCacheSize: UInt64 = 10 << 30

  public let url: String
  public let isLocal: Bool
  /// Of a local store: its directory.
  public let path: String
  private let parameters: [String: String]

  public init(_ url: String) throws {
    func refused(_ detail: String) -> ComputeError {
      ComputeError(
        .environment, "open the object store '\(url)': \(detail)",
        hint:
          "use file:///absolute/path or s3://bucket/prefix?endpoint=https://host:port&region=REGION"
      )
    }
    guard let parsed = URLComponents(string: url), let scheme = parsed.scheme else {
      throw refused("not a URL")
    }
    guard scheme == "file" || scheme == "s3" else {
      throw refused("no store of kind '\(scheme)' is built in")
    }
    isLocal = scheme == "file"
    path = parsed.path
    if isLocal, !path.hasPrefix("/") || path.count < 2 { throw refused("the path is not absolute") }
    self.url = url
    var parameters: [String: String] = [:]
    for item in parsed.queryItems ?? [] { parameters[item.name] = item.value }
    self.parameters = parameters
  }

  public subscript(name: String) -> String? { parameters[name] }

  /// The URL with more parameters; those that are `nil` are left out.
  public func adding(_ more: KeyValuePairs<String, String?>) -> String {
    // It was parsed before.
    guard var parts = URLComponents(string: url) else { return url }
    let items = more.compactMap { pair in
      pair.value.map { URLQueryItem(name: pair.key, value: $0) }
    }
    if !items.isEmpty { parts.queryItems = (parts.queryItems ?? []) + items }
    return parts.string ?? url
  }

  public var masterKey: MasterKeySource? {
    parameters["master-key"].map { .file($0) }
      ?? parameters["master-key-command"].map { .command($0) }
  }

  /// Where sealed copies of large files lie until they are put: on a local store's own file system,
  /// where putting them is a link.
  fileprivate var scratch: String {
    get throws {
      if isLocal { return path + "/sealing" }
      if let cache = parameters["cache"] { return cache + ".sealing" }
      return FileManager.default.temporaryDirectory.path + "/exzo-sealing"
    }
  }
}

/// Runs blocking work off the cooperative pool, on a thread of its own.
func blocking<Value: Sendable>(
  _ work: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await withThread(named: "blocking", work)
}
