import DurableIO
import Foundation

/// The file that a source's certificate is checked against: its owner's, or this machine's.
public struct SourceAuthorities: Sendable {
  public let path: String
  private let isOurs: Bool

  /// Debian's, and what Red Hat and Alpine have in its place.
  private static let ofMachine = [
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
  ]

  /// Writes the certificates to a file; ``remove()`` takes it away again. Blocks its thread.
  /// - Parameters:
  ///   - certificates: PEM; `nil` for this machine's.
  ///   - path: where the file is put; a temporary one where it is `nil`.
  public init(_ certificates: String?, at path: String? = nil) throws {
    guard let certificates else {
      self.path = Self.ofMachine.first { access($0, R_OK) == 0 } ?? "/nonexistent"
      isOurs = false
      return
    }
    self.path =
      path ?? FileManager.default.temporaryDirectory.path + "/exzo-authorities-\(UUID().uuidString)"
    isOurs = path == nil
    try SystemFileSystem().replaceFile(
      self.path, with: Array(certificates.utf8), operation: "write a source's authorities")
  }

  /// Takes a temporary file away; one that is left lies in a directory that the system clears.
  public func remove() {
    if isOurs { _ = unlink(path) }
  }
}
