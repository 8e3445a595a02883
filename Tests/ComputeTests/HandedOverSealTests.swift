import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute
@testable import Volume

/// What the image of a keyframe holds of what a cache hands over.
@Suite struct HandedOverSealTests {
  /// Its redo LSN is later, so that pages which came to the cache after the hand-over are not made by replay.
  @Test func aCheckpointThatCompletesMeanwhileHasItsPagesHandedOver() async throws {
    try await withVolume { volume, control, page in
      var calls = 0
      try await sealHandedOver(
        volume,
        handOver: {
          calls += 1
          try write(calls, to: page, of: volume)
          // Completed while the files were handed over.
          if calls == 1 { try write(2, to: control, of: volume) }
        }, checkpoint: { LSN(UInt64(try volume.readFile("control")[0])) })
      #expect(calls == 2)
      let image = try #require(volume.sealedEpochs.last)
      var bytes = [UInt8](repeating: 0, count: 8192)
      try bytes.withUnsafeMutableBytes { try image.readBlock(file: page, block: 0, into: $0) }
      #expect(bytes[0] == 2, "the page is of the hand-over before the image's checkpoint")
    }
  }

  @Test func withoutAnEndOfCheckpointsItSaysSo() async throws {
    try await withVolume { volume, control, _ in
      var calls = 0
      let error = await #expect(throws: ComputeError.self) {
        try await sealHandedOver(
          volume,
          handOver: {
            calls += 1
            try write(calls, to: control, of: volume)
          }, checkpoint: { LSN(UInt64(try volume.readFile("control")[0])) })
      }
      #expect(error?.code == .process)
      #expect(calls == 20)
    }
  }

  private func write(_ value: Int, to file: FileID, of volume: Volume) throws {
    let bytes = [UInt8](repeating: UInt8(value), count: 8192)
    try bytes.withUnsafeBytes { try volume.write(file, at: 0, $0) }
  }

  private func withVolume(_ body: (Volume, FileID, FileID) async throws -> Void) async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(
        VolumeConfiguration(directory: "\(directory)/volume", classification: fileClass))
      let control = try volume.create("control", in: .root, mode: 0o600).id
      try write(0, to: control, of: volume)
      try await body(volume, control, try volume.create("page", in: .root, mode: 0o600).id)
      try volume.close()
    }
  }
}
