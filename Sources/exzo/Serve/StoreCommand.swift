import ArgumentParser
import Catalog
import Compute
import DurableIO
import Foundation
import ObjectStorage

/// `exzo store`: what an operator does with the object store itself.
struct StoreCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "Master key, second store, throughput of the object store.",
    subcommands: [
      RotateMasterKeyCommand.self, MirrorStatusCommand.self, MirrorNowCommand.self,
      MirrorAcceptCommand.self, StoreSpeedCommand.self,
    ])
}

/// `exzo store rotate-master-key`
struct RotateMasterKeyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate-master-key",
    abstract: "Wrap the store's keys with a new master key; no history is rewritten.",
    discussion: """
      The file then holds the new key and, below it, all former ones. They open nothing in the store any
      more, but a copy of it from before needs them: run 'exzo store mirror' before you delete their lines,
      and keep them as long as there is any other such copy. An interrupted rotation is finished by the
      next one.
      """)

  @Option(help: "file:///… or s3://…, as given to serve.") var objectStore: String
  @Option(help: "The file with the master key.") var masterKey: String

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let bare = try openBareStore(
      ObjectStoreURL(objectStore), fileSystem: SystemFileSystem(), environment: environment)
    let keys = try MasterKeySource.file(masterKey).load()
    let stores = try await sealedParts(of: bare)
    // What an interrupted rotation left is wrapped with the current key first.
    for store in stores { _ = try await EncryptedObjectStore.rewrapKeys(of: store, masters: keys) }
    let next = keys.rotated()
    try PrivateFile.write(Array(next.text.utf8), to: masterKey)
    var count = 0
    for store in stores {
      count += try await EncryptedObjectStore.rewrapKeys(of: store, masters: next)
    }
    print(
      """
      \(count) keys are wrapped with master key \(next.current.name), in \(masterKey).
      KEEP A COPY ELSEWHERE: if it is lost, the content of the object store is lost.
      Former keys in that file: \(next.former.count). If there is a second store, run 'exzo store mirror'
      before you delete their lines: until then it needs them.
      """)
  }
}

/// An encrypted store, or the catalog in a plain one.
private func sealedParts(of bare: any ObjectStore) async throws -> [any ObjectStore] {
  var parts: [any ObjectStore] = []
  let candidates: [any ObjectStore] = [
    bare, PrefixedObjectStore(bare, directory: StoreSetup.catalogDirectory),
  ]
  for part in candidates {
    if try await EncryptedObjectStore.isEncrypted(part) { parts.append(part) }
  }
  guard !parts.isEmpty else {
    throw ServeError(
      "rotate the master key: nothing in the object store is sealed",
      hint: "give the URL, with the prefix, that serve is given")
  }
  return parts
}

/// `exzo store mirror-status`
struct MirrorStatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mirror-status", abstract: "How far the second store is behind, and what it lacks."
  )

  @Option(help: "The data directory of serve.") var dataDir: String

  func run() async throws {
    let path = MirrorService.statusFile(dataDir)
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw ServeError(
        "read the mirror's status '\(path)': there is none",
        hint: "serve writes it when it runs with --mirror, after its first pass")
    }
    show(try JSONDecoder().decode(ObjectMirror.Status.self, from: bytes))
  }
}

/// `exzo store mirror`
struct MirrorNowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mirror",
    abstract: "Copy what the second store lacks, once, and say what is missing.")

  @Option(help: "The store that is copied.") var from: String
  @Option(help: "The store that it is copied to.") var to: String

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let files = SystemFileSystem()
    let scratch = FileManager.default.temporaryDirectory.path + "/exzo-mirroring-\(UUID())"
    // Nothing of use is left in it.
    defer { try? FileManager.default.removeItem(atPath: scratch) }
    let mirror = try ObjectMirror(
      from: openBareStore(ObjectStoreURL(from), fileSystem: files, environment: environment),
      to: openBareStore(ObjectStoreURL(to), fileSystem: files, environment: environment),
      configuration: .init(
        scratch: scratch, rank: { StoreSetup.rank($0.name) }), fileSystem: files)
    let status = try await mirror.pass()
    show(status)
    if status.missingObjects > 0 || status.failure != nil { throw ExitCode.failure }
  }
}

private func show(_ status: ObjectMirror.Status) {
  let lag = status.lag(now: Date().timeIntervalSince1970)
  print(
    """
    objects    \(status.objects) (\(status.bytes) bytes)
    complete   \(lag.map { "as of \(Int($0)) s ago" } ?? "never")
    missing    \(status.missingObjects) (\(status.missingBytes) bytes)
    copied     \(status.copiedObjects) (\(status.copiedBytes) bytes) since the start
    to delete  \(status.awaitingDeletion)
    """)
  for name in status.missing { print("  missing: \(name)") }
  if let failure = status.failure { print("  failure: \(failure)") }
}

/// `exzo store speed`
struct StoreSpeedCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "speed", abstract: "Measure puts, reads and small ranged reads of a store.")

  @Option(help: "file:///… or s3://…, as given to serve; other parameters as agents get them.")
  var objectStore: String
  @Option(help: "Megabytes of one object.") var megabytes = 64

  func run() async throws {
    let store = try openObjectStore(objectStore, fileSystem: SystemFileSystem())
    try await (store as? EncryptedObjectStore)?.setUp()
    let key = ObjectKey("speed/\(UInt64.random(in: 0 ... .max))")
    var random = SystemRandomNumberGenerator()
    let content = (0..<(megabytes << 17)).flatMap { _ in
      withUnsafeBytes(of: random.next()) { Array($0) }
    }
    let clock = ContinuousClock()
    func rate(_ time: Duration) -> String {
      String(format: "%.0f MB/s", Double(megabytes) / (time / .seconds(1)))
    }
    let put = try await clock.measure { try await store.put(key, .bytes(content)) }
    print("put   \(megabytes) MB  \(rate(put))")
    let get = try await clock.measure {
      let found = try await store.get(key, range: nil)
      guard found == content else { throw ServeError("read back '\(key)': other bytes came") }
    }
    print("get   \(megabytes) MB  \(rate(get))")
    for round in ["first", "again"] {
      let ranges = try await clock.measure {
        for number in 0..<200 {
          let start = UInt64((number * 7_919 % 200) * content.count / 200)
          _ = try await store.get(key, range: start..<start + 32_768)
        }
      }
      let each = ranges / .milliseconds(1) / 200
      print("get   32 KiB ranges, \(round): \(String(format: "%.2f", each)) ms each")
    }
    try await store.delete(key)
  }
}
