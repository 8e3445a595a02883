import History
import PostgresFormat
import Volume

/// Makes a line's own volume ready again after a suspension or a crash.
struct VolumeResumption: Sendable {
  let specification: AgentSpecification
  let directory: LineDirectory
  let environment: HistoryEnvironment

  /// Takes the line over and recovers the volume from its log.
  func prepare() async throws -> PreparedCompute {
    let writer = try await LineWriter.resume(
      LineID(rawValue: specification.line), environment: environment, movesBase: true)
    let major = try postgresMajor(specification.major)
    let (base, lazy) = try await base(of: writer)
    return try await environment.threads.run { [directory] in
      let moving = writer.description.parent?.isLazy ?? false ? MovingBaseView(base) : nil
      var isReady = false
      defer { if !isReady { lazy?.close() } }
      let volume = try openVolume(directory, base: moving ?? base, deferred: false)
      let control = try ImagePreparation(volume: volume, major: major).controlFile()
      isReady = true
      return PreparedCompute(
        volume: volume, writer: writer, base: moving, expectation: nil, control: control,
        lazy: lazy)
    }
  }

  /// What lies below the line's own blocks.
  private func base(
    of writer: LineWriter
  ) async throws -> (any BaseView, LazyBaseView?) {
    guard let origin = writer.description.parent else { return (EmptyBaseView(), nil) }
    if let tree = origin.tree, let layers = writer.volumeBase {
      let storage = LayerStorage(store: environment.store, fileSystem: environment.fileSystem)
      let view = try await environment.threads.run {
        try StandaloneBaseView(tree: tree, layers: layers, storage: storage)
      }
      return (view, nil)
    }
    if let tree = origin.tree {
      let history = try await LineHistory.open(origin.line, store: environment.store)
      let pages = LazyPages(
        specification: specification, directory: directory, environment: environment)
      let image = try await pages.image(origin.base)
      let view = try await pages.view(
        history, image: image, moment: origin.branchLSN, tree: tree, pool: try await pages.pool())
      return (view, view)
    }
    let view = try await environment.threads.run { [environment] in
      try LayerStackView(
        layers: origin.base.layers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
    }
    return (BranchBaseView(view), nil)
  }
}
