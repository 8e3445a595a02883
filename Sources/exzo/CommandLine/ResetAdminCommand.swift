import ArgumentParser
import Catalog
import ControlPlane
import Foundation
import Logging

/// `exzo api-keys reset-admin`: a new administrator's key where all are lost.
///
/// Works on the metadata itself, beside a serve that runs or with none; needs the rights of the user
/// that runs serve.
struct ResetAdminCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reset-admin", abstract: "Makes the administrator a new key, without having one.",
    discussion: """
      Run it on serve's machine, as the user that runs serve. The key goes into DIR/api-key, where
      commands find it. Serve may be running; it need not be.
      """)

  @Option(help: "Serve's data directory; EXZO_DATA_DIR by default.", completion: .directory)
  var dataDir: String?
  @Option(help: "Where the metadata are, if serve was told; EXZO_METADATA_URL by default.")
  var metadataUrl: String?
  @Option(help: "Serve's configuration file, if it has one.", completion: .file())
  var config: String?
  @Flag(help: "Revoke all other keys of the administrator: somebody else may have them.")
  var revokeOthers = false

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let layers = try LayeredSettings(
      environment: environment, configurationFile: config ?? environment["EXZO_CONFIG"])
    guard let named = layers.value("data-dir", flag: dataDir) else {
      throw ValidationError("--data-dir is missing: name the directory that serve was given")
    }
    let directory = URL(fileURLWithPath: named).standardizedFileURL.path
    guard FileManager.default.fileExists(atPath: "\(directory)/serve.lock") else {
      throw ServeError(
        "open the data directory '\(directory)': no serve has run there",
        hint: "--data-dir names the directory that serve was given")
    }
    let metadata = try server(layers.value("metadata-url", flag: metadataUrl), directory)
    // Held while serve does not run, so that none begins in between.
    let isServed = DataDirectory.holder(of: directory) != nil
    let held = isServed ? nil : try DataDirectory(path: directory)
    let path = "\(directory)/api-key"
    if held != nil { try await metadata.start() }
    do {
      try await makeKey(metadata, isServed: isServed, path)
      if held != nil { try await metadata.stop() }
    } catch {
      // The first failure is the one to tell; a server left running is used by the next start.
      if held != nil { try? await metadata.stop() }
      throw error
    }
    printError("a new key of the administrator is in \(path)")
    withExtendedLifetime(held) {}
  }

  /// To whom the data directory belongs, where root is another.
  private func giveToOwner(_ path: String) throws {
    var status = stat()
    let directory = (path as NSString).deletingLastPathComponent
    guard stat(directory, &status) == 0, chown(path, status.st_uid, status.st_gid) == 0 else {
      throw ServeError(
        "give '\(path)' to the owner of '\(directory)': \(String(cString: strerror(errno)))")
    }
  }

  private func server(_ url: String?, _ directory: String) throws -> any MetadataServer {
    var log = Logger(label: "reset-admin")
    log.logLevel = .warning
    if let url { return try ExternalMetadataServer(url: url, logger: log) }
    return try EmbeddedMetadataServer(directory: directory, logger: log)
  }

  private func makeKey(_ metadata: any MetadataServer, isServed: Bool, _ path: String) async throws
  {
    // A serve that runs has its own version of the schema.
    let catalog = try await Catalog.open(
      metadata.connectionParameters, connections: 1, migrates: !isServed)
    do {
      let key = try await AdministratorAccess(catalog: catalog)
        .newKey(revokesOthers: revokeOthers)
      try PrivateFile.write(Array((key + "\n").utf8), to: path)
      try giveToOwner(path)
      await catalog.close()
    } catch {
      await catalog.close()
      throw error
    }
  }
}
