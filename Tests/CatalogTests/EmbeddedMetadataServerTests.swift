import Foundation
import Glibc
import Logging
import PostgresClient
import TestSupport
import Testing

@testable import Catalog

private let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

@Suite struct EmbeddedMetadataServerTests {
  @Test func startsIsUsedOnComesBackAfterACrashAndStops() async throws {
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try await server.start()
      do {
        let first = try await postmaster(directory)
        // A second start, as after a killed serve, uses the running one.
        let again = try EmbeddedMetadataServer(directory: directory, logger: logger)
        try await again.start()
        #expect(try await postmaster(directory) == first)

        let catalog = try await Catalog.open(again.connectionParameters, connections: 1)
        try await catalog.write { try $0.set("kept", to: "yes") }
        kill(first, SIGKILL)
        let watch = Task { await again.supervise(every: .milliseconds(20)) }
        for _ in 0..<200 where try postmasterOrNone(directory) ?? first == first {
          try await Task.sleep(for: .milliseconds(50))
        }
        var value: String?
        for _ in 0..<100 where value == nil {
          do {
            value = try await catalog.read { try $0.setting("kept") }
          } catch let error as CatalogError where error.code == .unavailable {
            try await Task.sleep(for: .milliseconds(50))
          }
        }
        watch.cancel()
        await watch.value
        #expect(value == "yes")
        #expect(try await postmaster(directory) != first)
        await catalog.close()
        try await again.stop()
        #expect(try await !server.isRunning())
        try await again.stop()
      } catch {
        try await server.stop()
        throw error
      }
    }
  }

  /// It outlives a serve that is killed: what it held of that one's, no other could listen on.
  @Test func itHoldsNothingOfTheProcessThatStartedIt() async throws {
    try await withTemporaryDirectory { directory in
      // As sockets of frameworks that set no flag.
      let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(socket) }
      var status = stat()
      #expect(fstat(socket, &status) == 0)
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try await server.start()
      let path = "/proc/\(try await postmaster(directory))/fd"
      let held = try FileManager.default.contentsOfDirectory(atPath: path).compactMap {
        // One that was closed meanwhile is not held.
        try? FileManager.default.destinationOfSymbolicLink(atPath: "\(path)/\($0)")
      }
      try await server.stop()
      #expect(held.contains("/dev/null"))
      #expect(!held.contains("socket:[\(status.st_ino)]"), "\(held)")
    }
  }

  @Test func anUnfinishedClusterIsMadeAnewAndAStrangersLockFileIsRemoved() async throws {
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try FileManager.default.createDirectory(
        atPath: "\(directory)/metadata.new/base", withIntermediateDirectories: true)
      try await server.start()
      try await server.stop()
      // The lock file of a machine that was switched off, its process id now ours.
      let lock = "\(getpid())\n\(directory)/metadata\n0\n5432\n\n\n\n"
      try lock.write(
        toFile: "\(directory)/metadata/postmaster.pid", atomically: true, encoding: .utf8)
      try await server.start()
      #expect(try await server.isRunning())
      try await server.stop()
    }
  }

  @Test func refusesWhatCannotWork() {
    #expect(throws: CatalogError.self) {
      try EmbeddedMetadataServer(
        directory: "/tmp/" + String(repeating: "x", count: 100), logger: logger)
    }
    #expect(throws: CatalogError.self) {
      try EmbeddedMetadataServer(directory: "/tmp/x", binaries: "/nowhere", logger: logger)
    }
  }

  private func postmasterOrNone(_ directory: String) throws -> pid_t? {
    try PrivateFile.read("\(directory)/metadata/postmaster.pid").flatMap { bytes in
      String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.flatMap { pid_t($0) }
    }
  }

  private func postmaster(_ directory: String) async throws -> pid_t {
    let bytes = try #require(try PrivateFile.read("\(directory)/metadata/postmaster.pid"))
    return try #require(pid_t(String(decoding: bytes, as: UTF8.self).split(separator: "\n")[0]))
  }
}
