import DurableIO
import Foundation
import History
import PageRedo
import PostgresFormat
import Volume

/// Puts together what makes the pages of a moment.
struct LazyPages: Sendable {
  let specification: AgentSpecification
  let directory: LineDirectory
  let environment: HistoryEnvironment

  /// The image that a moment is made from.
  func image(_ groups: [LayerGroup]) async throws -> GroupedImage {
    let storage = storage
    return try await environment.threads.run { try GroupedImage(groups: groups, storage: storage) }
  }

  private var storage: LayerStorage {
    LayerStorage(store: environment.store, fileSystem: environment.fileSystem)
  }

  /// The view of a moment.
  /// - Parameters:
  ///   - history: of the line on which the moment lies.
  ///   - image: that the moment is made from.
  ///   - tree: at the moment.
  ///   - pool: of ``pool()``, which the view ends; ended as well where this throws.
  func view(
    _ history: LineHistory, image: GroupedImage, moment: LSN, tree: FileTreeSnapshot, pool: RedoPool
  ) async throws -> LazyBaseView {
    do {
      return try await makeView(history, image, moment, tree, pool)
    } catch {
      pool.discard()
      throw error
    }
  }

  private func makeView(
    _ history: LineHistory, _ image: GroupedImage, _ moment: LSN, _ tree: FileTreeSnapshot,
    _ pool: RedoPool
  ) async throws -> LazyBaseView {
    async let chains = ChainReader.open(
      history, from: min(image.oldestRedoLSN, moment), to: moment, storage: storage,
      cache: ChainCache())
    let reader = try await chains
    reader.warm()
    let options = try await environment.threads.run { [specification] in
      try pageOptions(of: image, major: postgresMajor(specification.major))
    }
    let maker = PageMaker(
      image: image, chains: reader, pool: pool, options: options, moment: moment)
    return try await environment.threads.run { [directory, environment] in
      LazyBaseView(
        tree: tree, maker: maker,
        pages: try MadePages(
          path: "\(directory.scratch)/made-pages", fileSystem: environment.fileSystem))
    }
  }

  /// Redo workers, the first of which is starting.
  func pool() async throws -> RedoPool { try await environment.threads.run(makePool) }

  @Sendable private func makePool() throws -> RedoPool {
    let major = try postgresMajor(specification.major)
    let identity = specification.identity
    return try RedoPool(
      RedoPoolConfiguration(
        major: major, server: "\(specification.binaries)/postgres",
        library: try LazyPages.library(major),
        scratch: RedoPoolConfiguration.scratchDirectory(
          environment: ProcessInfo.processInfo.environment),
        identity: getuid() == 0 ? (identity.uid, identity.gid) : nil, startsEarly: true))
  }

  static func library(_ major: PostgresMajor) throws(PageRedoError) -> String {
    try RedoPoolConfiguration.findLibrary(
      major: major, environment: ProcessInfo.processInfo.environment)
  }
}

/// How the cluster of an image keeps its pages, as its control file says.
private func pageOptions(of image: GroupedImage, major: PostgresMajor) throws -> PageOptions {
  let paths = TreePaths(image.tree)
  guard
    let entry = image.tree.entries.first(where: {
      $0.name == "pg_control" && paths.path(of: $0) == "global/pg_control"
    })
  else { throw ComputeError(.damagedHistory, "open an image: it has no pg_control") }
  var bytes = [UInt8](repeating: 0, count: blockSize)
  try bytes.withUnsafeMutableBytes {
    try image.read(file: entry.id, startBlock: 0, count: 1, into: $0)
  }
  let control = try ControlFile(bytes, major: major)
  if control.hasDataChecksums { return .checksums }
  return control.parameters.walLogHints ? .logsHints : []
}
