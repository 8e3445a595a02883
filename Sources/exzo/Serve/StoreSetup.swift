import Catalog
import Compute
import DurableIO
import Foundation
import Logging
import ObjectStorage

/// The object store as `exzo serve` was told to use it, checked and ready.
struct StoreSetup: Sendable {
  /// With key, cache and mirror: what agents open.
  let url: String
  let store: any ObjectStore
  /// Where the catalog goes: sealed in any case, since passwords and keys are in it.
  let catalogStore: any ObjectStore
  /// The second store, where there is one.
  let mirror: ObjectMirror?
  /// Of the two, those that are buckets.
  let buckets: [(name: String, store: S3ObjectStore)]
  /// As it lies there.
  private let bare: any ObjectStore

  /// Opens the store, and makes master key and keys where encryption is new.
  ///
  /// Encryption is on where the store is encrypted; for a new store where `--encryption on` says so, or
  /// it is a bucket and nothing says otherwise.
  /// - Parameter recovering: whether a recovery reads it: then nothing is made in it, nor a key for it.
  init(
    options: ServeOptions, environment: [String: String], recovering: Bool, log: Logger
  ) async throws {
    let files = SystemFileSystem()
    let bareURL = try ObjectStoreURL(options.objectStore)
    if recovering { try StoreSetup.requireDirectory(bareURL) }
    bare = try openBareStore(bareURL, fileSystem: files, environment: environment)
    if recovering { try await StoreSetup.requireCatalog(options, bare) }
    let encrypts = try await StoreSetup.encrypts(options, bareURL, bare)
    let sealed: any ObjectStore =
      encrypts ? bare : PrefixedObjectStore(bare, directory: StoreSetup.catalogDirectory)
    if options.masterKeyCommand == nil {
      try await StoreSetup.ensureMasterKey(
        options.masterKeyFile, sealed, whatIsSealed: encrypts ? "All that" : "The catalog that")
    }
    url = bareURL.adding([
      "master-key": encrypts && options.masterKeyCommand == nil ? options.masterKeyFile : nil,
      "master-key-command": encrypts ? options.masterKeyCommand : nil,
      "cache": bareURL.isLocal ? nil : "\(options.dataDirectory)/cache",
      "cache-size": bareURL.isLocal ? nil : "\(options.cacheSize)",
      "mirror": options.mirror,
    ])
    store = try openObjectStore(url, fileSystem: files, environment: environment)
    let encrypted = store as? EncryptedObjectStore
    try await encrypted?.setUp()
    let part = PrefixedObjectStore(store, directory: StoreSetup.catalogDirectory)
    catalogStore = try encrypted ?? StoreSetup.sealedCatalog(options, part)
    try await (catalogStore as? EncryptedObjectStore)?.setUp()
    let second = try options.mirror.map {
      try openBareStore(ObjectStoreURL($0), fileSystem: files, environment: environment)
    }
    mirror = try await StoreSetup.mirror(options, bare, second, encrypted)
    let stores: [(String, (any ObjectStore)?)] = [("object store", bare), ("second store", second)]
    buckets = stores.compactMap { name, store in (store as? S3ObjectStore).map { (name, $0) } }
  }

  /// The first store alone, to look at what lies in it: nothing kept nearer and no mirror answers in its place.
  ///
  /// - Parameter directory: for what is read around what was asked for; the caller removes it afterwards.
  func first(_ directory: String) throws -> any ObjectStore {
    let files = SystemFileSystem()
    let near: any ObjectStore =
      bare is S3ObjectStore
      ? try CachedObjectStore(bare, directory: "\(directory)/read", limit: Self.readAhead) : bare
    guard let key = try ObjectStoreURL(url).masterKey else { return near }
    return try EncryptedObjectStore(
      near, masterKey: key, scratch: "\(directory)/sealing", fileSystem: files)
  }

  private static let readAhead: UInt64 = 256 << 20

  /// Where a plain store has the catalog, sealed.
  static let catalogDirectory = "catalog"

  private static func sealedCatalog(
    _ options: ServeOptions, _ store: any ObjectStore
  ) throws -> EncryptedObjectStore {
    try EncryptedObjectStore(
      store,
      masterKey: options.masterKeyCommand.map { .command($0) } ?? .file(options.masterKeyFile),
      scratch: "\(options.dataDirectory)/catalog-sealing", fileSystem: SystemFileSystem())
  }

  /// Opening a local store would make it.
  private static func requireDirectory(_ url: ObjectStoreURL) throws {
    guard url.isLocal, !FileManager.default.fileExists(atPath: url.path) else { return }
    throw ServeError(
      "recover from '\(url.url)': there is no directory '\(url.path)'",
      hint: "see whether it is mounted, and whether the address is right")
  }

  /// Refuses a store without anything sealed: its catalog would be, and its keys would be made as for a new
  /// one.
  private static func requireCatalog(
    _ options: ServeOptions, _ bare: any ObjectStore
  ) async throws {
    if try await EncryptedObjectStore.isEncrypted(bare) { return }
    let part = PrefixedObjectStore(bare, directory: catalogDirectory)
    guard try await EncryptedObjectStore.isEncrypted(part) else {
      throw ServeError(
        "recover from '\(options.objectStore)': the object store holds none of Exzo's catalogs",
        hint: "name the store, with its prefix, that the lost installation used")
    }
    guard options.encryption != true else {
      throw ServeError(
        "use --encryption on: the object store '\(options.objectStore)' is not encrypted",
        hint: "leave --encryption out: what is recovered is served as it lies there")
    }
  }

  private static func encrypts(
    _ options: ServeOptions, _ url: ObjectStoreURL, _ bare: any ObjectStore
  ) async throws -> Bool {
    if try await EncryptedObjectStore.isEncrypted(bare) {
      guard options.encryption != false else {
        throw ServeError(
          "use --encryption off: the object store '\(options.objectStore)' is encrypted",
          hint: "leave --encryption out; to go back to plain objects, begin with an empty store")
      }
      return true
    }
    if let wanted = options.encryption { return wanted }
    if url.isLocal { return false }
    return try await bare.list(prefix: "", after: nil, limit: 1).isEmpty
  }

  /// Makes a master key where there is none and nothing is sealed with one yet.
  private static func ensureMasterKey(
    _ path: String, _ bare: any ObjectStore, whatIsSealed: String
  ) async throws {
    if FileManager.default.fileExists(atPath: path) { return }
    guard try await !EncryptedObjectStore.isEncrypted(bare) else {
      throw ServeError(
        "open the object store: the master key '\(path)', which it is sealed with, is missing",
        hint: "put your copy of the key there, or name it with --master-key; without it the "
          + "content of the store is lost")
    }
    try PrivateFile.write(Array(MasterKeys(current: .random()).text.utf8), to: path)
    printError(
      """
      A master key was made: \(path)
      \(whatIsSealed) is stored is sealed with it. KEEP A COPY ELSEWHERE: if it is lost, that content of
      the object store is lost, and nobody can bring it back.
      """)
  }

  private static func mirror(
    _ options: ServeOptions, _ bare: any ObjectStore, _ second: (any ObjectStore)?,
    _ encrypted: EncryptedObjectStore?
  ) async throws -> ObjectMirror? {
    guard let second else { return nil }
    let files = SystemFileSystem()
    let plain: @Sendable (ObjectKey) -> String? = { $0.name }
    let name = try await encrypted?.nameReader() ?? plain
    return try ObjectMirror(
      from: bare, to: second,
      configuration: .init(
        scratch: "\(options.dataDirectory)/mirroring", rank: { StoreSetup.rank(name($0)) }),
      known: MirrorService.lastStatus(options.dataDirectory), fileSystem: files)
  }

  /// What other objects refer to comes first: keys, then layers and WAL, keyframes, manifests.
  static func rank(_ name: String?) -> Int {
    guard let name else { return 0 }
    let parts = name.split(separator: "/")
    // A dump's manifest comes after what it tells of.
    if parts.first == "dumps" { return parts.last == "manifest" ? 2 : 1 }
    // The catalog tells of all the others; its keys come before what they seal.
    if parts.first == "catalog" { return parts.count > 1 && parts[1] == "exzo" ? 0 : 5 }
    guard parts.count == 4, parts[0] == "lines" else { return parts.first == "lines" ? 2 : 1 }
    return switch parts[2] {
    case "layers", "wal": 1
    case "owner": 2
    case "keyframes": 3
    default: 4
    }
  }
}
