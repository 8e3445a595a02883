import DurableIO
import Foundation
import Glibc
import TestSupport
import Testing

@testable import Volume

/// Figures, printed, not judged: `EXZO_MEASURE=1 swift test -c release -Xswiftc -enable-testing
/// --filter
/// VolumeMeasurements`.
@Suite(
  .serialized,
  .enabled(
    if: ProcessInfo.processInfo.environment["EXZO_MEASURE"] != nil,
    "set EXZO_MEASURE=1 and build with -c release"))
struct VolumeMeasurements {
  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try body()
    let passed = ContinuousClock.now - start
    return Double(passed.components.seconds) + Double(passed.components.attoseconds) / 1e18
  }

  private func configuration(_ directory: String) -> VolumeConfiguration {
    var configuration = testConfiguration("\(directory)/v")
    configuration.segmentSize = 64 << 20
    return configuration
  }

  @Test func writesAndReadsPerSecond() async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(configuration(directory))
      _ = try volume.makeDirectory("base", in: .root, mode: 0o700)
      let file = try volume.create("1", in: try volume.find("base").id, mode: 0o600).id
      var image = page(7)
      let count = 131_072
      let written = try seconds {
        for number in 0..<count {
          image[0] = UInt8(truncatingIfNeeded: number)
          let block = UInt64(number &* 7919 % count)
          try image.withUnsafeBytes { try volume.write(file, at: block * 8192, $0) }
        }
      }
      print("8 KiB writes logged: \(Int(Double(count) / written))/s")
      let read = { (what: String) in
        var random = SeededRandom(seed: 3)
        let reads = 200_000
        let passed = try self.seconds {
          for _ in 0..<reads {
            let offset = UInt64(random.below(count)) * 8192
            _ = try image.withUnsafeMutableBytes { try volume.read(file, at: offset, into: $0) }
          }
        }
        print("random 8 KiB reads from \(what): \(Int(Double(reads) / passed))/s")
      }
      try read("log")
      let attributes = try seconds {
        for _ in 0..<1_000_000 { _ = try volume.attributes(of: file) }
      }
      print("attributes: \(Int(1_000_000 / attributes))/s")
      try volume.sync()
      try volume.forget(epoch: volume.seal().number)
      print("destage of 1 GiB: \(try seconds { try volume.destage() }) s")
      try read("local file")
      try volume.close()
    }
  }

  @Test func syncLatency() async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(configuration(directory))
      let file = try volume.create("1", in: .root, mode: 0o600).id
      let plain = try SystemFileSystem().open("\(directory)/p", .createNew, operation: "measure")
      try plain.allocate(0..<(64 << 20), operation: "measure")
      let image = page(1)
      let ours = try seconds {
        for number in 0..<300 {
          try volume.write(file, at: UInt64(number) * 8192, image)
          try volume.sync()
        }
      }
      let theirs = try seconds {
        for number in 0..<300 {
          try image.withUnsafeBytes {
            try plain.write($0, at: UInt64(number) * 8192, operation: "measure")
          }
          try plain.sync(operation: "measure")
        }
      }
      print("write + sync: \(ours / 300 * 1e6) µs, plain file: \(theirs / 300 * 1e6) µs")
      try volume.close()
    }
  }

  @Test func indexMemory() {
    var map = BlockMap()
    for block in 0..<1_000_000 { map.set(UInt32(block &* 7919 % 1_000_003), to: UInt64(block + 4)) }
    print("index bytes per million blocks: \(map.footprint)")
    var worst = BlockMap()
    for block in 0..<(858_994 as UInt32) { worst.set(block, to: 4) }
    print("bytes a block just after growing: \(Double(worst.footprint) / 858_994)")
  }

  @Test func reopenTimes() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = configuration(directory)
      var volume = try Volume.open(configuration)
      for folder in 0..<30 {
        let parent = try volume.makeDirectory("d\(folder)", in: .root, mode: 0o700).id
        for number in 0..<1000 {
          let id = try volume.create("\(16_384 + number)", in: parent, mode: 0o600).id
          if number % 30 == 0 { try volume.write(id, at: 0, page(1)) }
        }
      }
      print("seal with 30,000 files: \(try seconds { try volume.seal() }) s")
      try volume.forget(epoch: 1)
      try volume.destage()
      try volume.close()
      let path = "\(directory)/v/state"
      let load = try seconds {
        _ = try VolumeSnapshot(
          decoding: SystemFileSystem().readFile(path, operation: "measure"), path: path)
      }
      print("decode of state with 30,000 files: \(load) s")
      print(
        "reopen with 30,000 files: \(try seconds { volume = try Volume.open(configuration) }) s")
      let file = try volume.create("big", in: .root, mode: 0o600).id
      let image = page(9)
      for block in 0..<131_072 { try volume.write(file, at: UInt64(block) * 8192, image) }
      try volume.close()
      print(
        "reopen with 1 GiB of log: \(try seconds { volume = try Volume.open(configuration) }) s")
      try volume.close()
    }
  }
}
