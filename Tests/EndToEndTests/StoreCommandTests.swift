import Foundation
import TestSupport
import Testing

/// `exzo store`, with no serve.
@Suite struct StoreCommandTests {
  /// The second store was away during two rotations: the file still holds the key that it needs.
  @Test func aCopyFromBeforeTwoRotationsIsStillOpened() async throws {
    try await withTemporaryDirectory { directory in
      let key = "\(directory)/master-key"
      let bytes = Data((0..<32).map { _ in UInt8.random(in: 0...255) })
      try "exzo-master-key-1 \(bytes.base64EncodedString())\n".write(
        toFile: key, atomically: true, encoding: .utf8)
      // Makes an encrypted store, and opens one.
      func use(_ name: String) throws {
        try run([
          Platform.program, "store", "speed", "--megabytes", "8", "--object-store",
          "file://\(directory)/\(name)?master-key=\(key)",
        ])
      }
      try use("store")
      try FileManager.default.copyItem(
        atPath: "\(directory)/store", toPath: "\(directory)/copy")
      for former in 1...2 {
        let rotated = try run([
          Platform.program, "store", "rotate-master-key", "--object-store",
          "file://\(directory)/store", "--master-key", key,
        ])
        #expect(rotated.output.contains("Former keys in that file: \(former)"), "\(rotated.output)")
        #expect(rotated.output.contains("exzo store mirror"), "\(rotated.output)")
      }
      try use("store")
      try use("copy")
    }
  }
}
