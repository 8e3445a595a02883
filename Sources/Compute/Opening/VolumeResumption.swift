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
      LineID(rawValue: specification.line), environment: environment)
    let major = try postgresMajor(specification.major)
    let layers = writer.description.parent?.base.layers
    return try await environment.threads.run { [directory, environment] in
      let base: any BaseView =
        try layers.map { layers in
          BranchBaseView(
            try LayerStackView(
              layers: layers,
              storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem)))
        } ?? EmptyBaseView()
      let volume = try openVolume(directory, base: base, deferred: false)
      let control = try ImagePreparation(volume: volume, major: major).controlFile()
      return PreparedCompute(
        volume: volume, writer: writer, expectation: nil, control: control)
    }
  }
}
