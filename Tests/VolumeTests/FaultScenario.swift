import DurableIO
import TestSupport
import Testing

@testable import Volume

/// A seeded run of single-record calls on a volume over a simulated disk, with every state it went
/// through.
///
/// The model holds what is logged: a piece of a page whose rest did not come is not in it.
final class FaultScenario {
  typealias State = [String: [UInt8]]

  let disk: SimulatedFileSystem
  var random: SeededRandom
  let volume: Volume
  var model: State = [:]
  /// What the log said after each call; the call under way when the power went included.
  private(set) var states: [State] = [[:]]
  /// The first state that may be found again: everything before was overtaken by a sync.
  private(set) var synced = 0
  /// The model at each seal that was begun.
  private(set) var sealed: [UInt64: State] = [:]
  private(set) var failures = 0

  init(disk: SimulatedFileSystem, seed: UInt64) throws {
    self.disk = disk
    random = SeededRandom(seed: seed)
    volume = try Volume.open(Self.configuration, files: disk)
    for name in ["base", "other"] {
      if (try? volume.find(name)) == nil {
        _ = try volume.makeDirectory(name, in: .root, mode: 0o700)
      }
    }
    try volume.sync()
  }

  static var configuration: VolumeConfiguration {
    var configuration = testConfiguration("/v")
    configuration.segmentSize = 128 << 10
    return configuration
  }

  /// Runs calls until the power is gone; calls that fail otherwise must have changed nothing.
  func run(_ count: Int) {
    for _ in 0..<count {
      if disk.hasLostPower { return }
      do { try step() } catch {
        failures += 1
        if !disk.hasLostPower { model = states[states.count - 1] }
      }
      states.append(model)
    }
  }

  private func step() throws {
    switch random.below(20) {
    case 0..<6: try writePages()
    case 6..<8: try writePieces()
    case 8..<11: try writeBytes()
    case 11: try truncate()
    case 12: try remove()
    case 13: try rename()
    case 14..<17:
      let reached = states.count - 1
      try volume.sync()
      synced = reached
    case 17: try seal()
    case 18: for epoch in volume.sealedEpochs { try volume.forget(epoch: epoch.number) }
    default: try volume.destage()
    }
  }

  private func seal() throws {
    let reached = states.count - 1
    sealed[volume.currentEpoch] = model
    try volume.seal()
    synced = reached
  }

  /// The file of a path; made, as a state of its own, where it is not there.
  private func file(_ path: String) throws -> FileID {
    if let found = try? volume.find(path) { return found.id }
    let parts = path.split(separator: "/")
    model[path] = []
    let parent = try volume.find(String(parts[0])).id
    let made = try volume.create(String(parts[1]), in: parent, mode: 0o600)
    states.append(model)
    return made.id
  }

  private func change(_ path: String, at offset: Int, _ bytes: [UInt8]) {
    var content = model[path] ?? []
    if content.count < offset + bytes.count {
      content += [UInt8](repeating: 0, count: offset + bytes.count - content.count)
    }
    content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    model[path] = content
  }

  private func writePages() throws {
    let path = "base/\(random.below(3))"
    let id = try file(path)
    let offset = random.below(6) * blockSize
    let bytes = (0..<1 + random.below(3)).flatMap { _ in page(UInt8(1 + random.below(250))) }
    change(path, at: offset, bytes)
    try volume.write(id, at: UInt64(offset), bytes)
  }

  /// 1,024 + 3,072 + 4,096 bytes of one page, the writer killed after any of them.
  private func writePieces() throws {
    let path = "base/\(random.below(3))"
    let id = try file(path)
    let offset = random.below(6) * blockSize
    let fill = UInt8(1 + random.below(250))
    let pieces = 1 + random.below(4)
    let handle = try volume.open(id)
    // A released handle ends the pieces; a failed write has dropped them already.
    defer { try? volume.release(handle) }
    if pieces >= 3 { change(path, at: offset, page(fill)) }
    for (start, end) in [(0, 1024), (1024, 4096), (4096, 8192)].prefix(pieces) {
      let bytes = [UInt8](repeating: fill, count: end - start)
      try volume.write(id, at: UInt64(offset + start), bytes, handle: handle)
    }
  }

  private func writeBytes() throws {
    let path = "other/\(random.below(3))"
    let id = try file(path)
    let offset = random.below(30_000)
    let bytes = [UInt8](repeating: UInt8(1 + random.below(250)), count: 1 + random.below(20_000))
    change(path, at: offset, bytes)
    try volume.write(id, at: UInt64(offset), bytes)
  }

  private func truncate() throws {
    guard let path = model.keys.sorted().randomElement(using: &random) else { return }
    let id = try volume.find(path).id
    var content = model[path] ?? []
    // A relation is cut at whole pages only.
    let size =
      path.hasPrefix("base") ? random.below(6) * blockSize : random.below(content.count + 9000)
    if size < content.count { content.removeLast(content.count - size) }
    content += [UInt8](repeating: 0, count: size - content.count)
    model[path] = content
    try volume.truncate(id, to: UInt64(size))
  }

  private func remove() throws {
    guard let path = model.keys.sorted().randomElement(using: &random) else { return }
    let parts = path.split(separator: "/")
    model[path] = nil
    try volume.unlink(String(parts[1]), in: try volume.find(String(parts[0])).id)
  }

  private func rename() throws {
    let folder = random.below(2) == 0 ? "base" : "other"
    let from = "\(random.below(3))"
    let to = "\(random.below(3))"
    guard let content = model["\(folder)/\(from)"], from != to else { return }
    let parent = try volume.find(folder).id
    model["\(folder)/\(from)"] = nil
    model["\(folder)/\(to)"] = content
    try volume.rename(from, in: parent, to: to, in: parent)
  }

  // MARK: Checks

  static func contents(_ volume: Volume) throws -> State {
    try volume.contents().compactMapValues { $0 }
  }

  /// Opens what the disk kept and checks that it is a state between the last sync and the end,
  /// that sealed
  /// epochs have the image of their seal, and that the volume goes on working.
  func checkSurvivor(seed: UInt64, _ what: Comment) throws {
    let survivor = disk.restarted(seed: seed)
    var volume = try Volume.open(Self.configuration, files: survivor)
    let found = try Self.contents(volume)
    #expect(
      states[synced...].contains { same($0, found) },
      "\(what), restart \(seed): not a state since the last sync"
    )
    for (path, content) in found where path.hasPrefix("base") {
      #expect(isWholePages(content), "\(what), restart \(seed): half a page in \(path)")
    }
    for epoch in volume.sealedEpochs { try check(epoch, what) }
    try volume.writeFile("after", [1, 2, 3])
    try volume.seal()
    for epoch in volume.sealedEpochs { try volume.forget(epoch: epoch.number) }
    try volume.destage()
    try volume.close()
    volume = try Volume.open(Self.configuration, files: survivor)
    let again = try Self.contents(volume)
    #expect(same(again, found.merging(["after": [1, 2, 3]]) { $1 }))
    try volume.close()
  }

  private func isWholePages(_ content: [UInt8]) -> Bool {
    content.count % blockSize == 0
      && stride(from: 0, to: content.count, by: blockSize).allSatisfy { start in
        same(Array(content[start..<start + blockSize]), page(content[start]))
      }
  }

  private func check(_ epoch: any SealedEpoch, _ what: Comment) throws {
    let expected = try #require(sealed[epoch.number], what)
    let tree = Dictionary(uniqueKeysWithValues: epoch.tree.entries.map { ($0.id, $0) })
    var image = page(0)
    for file in epoch.files {
      guard let entry = tree[file.id], entry.kind == .regular,
        let parent = tree[entry.parent]
      else { continue }
      let content = try #require(expected["\(parent.name)/\(entry.name)"], what)
      #expect(entry.size == UInt64(content.count), what)
      for block in file.blocks {
        try image.withUnsafeMutableBytes {
          try epoch.readBlock(file: file.id, block: block, into: $0)
        }
        let slice = content.dropFirst(Int(block) * blockSize).prefix(blockSize)
        #expect(same(Array(image.prefix(slice.count)), Array(slice)), what)
      }
    }
  }
}
