import DurableIO
import Foundation
import TestSupport
import Testing

@testable import Volume

/// Blocks and tree of a chain of sealed epochs, in memory: what a stack of layers answers.
struct MemoryBaseView: BaseView {
  var tree: FileTreeSnapshot
  var blocks: [FileID: [UInt32: [UInt8]]] = [:]

  init() { tree = EmptyBaseView().tree }

  mutating func add(_ epoch: any SealedEpoch) throws {
    tree = epoch.tree
    for file in epoch.files {
      var known = (blocks[file.id] ?? [:]).filter { $0.key < file.floor }
      for block in file.blocks {
        var image = [UInt8](repeating: 0, count: blockSize)
        try image.withUnsafeMutableBytes {
          try epoch.readBlock(file: file.id, block: block, into: $0)
        }
        known[block] = image
      }
      blocks[file.id] = known
    }
    let alive = Set(tree.entries.map(\.id))
    blocks = blocks.filter { alive.contains($0.key) }
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    for number in 0..<count {
      let target = UnsafeMutableRawBufferPointer(
        rebasing: buffer[number * blockSize..<(number + 1) * blockSize])
      if let image = blocks[file]?[startBlock + UInt32(number)] {
        image.withUnsafeBytes { target.copyMemory(from: $0) }
      } else {
        target.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
  }
}

/// Drives a volume and a plain directory with the same calls and compares what they hold.
final class DifferentialRun {
  let directory: String
  let plain: String
  var random: SeededRandom
  let pool: [UInt8]
  var volume: Volume
  var configuration: VolumeConfiguration
  var base: MemoryBaseView?
  /// Of every epoch since the volume was made from `base`.
  var next: MemoryBaseView
  /// As of the last complete layer, and what changed since.
  var complete = MemoryBaseView()
  var changes = ChangedBlocks()
  /// The newest epoch while the layer of what accumulated is not built.
  var pending: (any SealedEpoch)?
  var volumeNumber = 0
  var handles: [(handle: OpenHandle, file: FileID, descriptor: Int32)] = []

  init(_ directory: String, seed: UInt64) throws {
    self.directory = directory
    plain = "\(directory)/plain"
    random = SeededRandom(seed: seed)
    var filler = SeededRandom(seed: 7)
    pool = (0..<16_384).flatMap { _ in withUnsafeBytes(of: filler.next()) { Array($0) } }
    mkdir(plain, 0o700)
    configuration = testConfiguration("\(directory)/v0")
    configuration.segmentSize = 2 << 20
    volume = try Volume.open(configuration)
    next = MemoryBaseView()
  }

  func pick(_ bound: Int) -> Int { random.below(bound) }

  /// Few names, so that calls meet.
  func path() -> String {
    let depth = pick(4)
    return (0...min(depth, 2)).map { "n\(pick(4 + $0))" }.joined(separator: "/")
  }

  func split(_ path: String) throws -> (FileID, String) {
    let parts = path.split(separator: "/")
    return (
      try volume.find(parts.dropLast().joined(separator: "/")).id, String(parts[parts.count - 1])
    )
  }

  /// Runs one call on both sides; they must agree on whether it works.
  func both(_ what: String, _ plainCall: () -> Int32, _ volumeCall: () throws -> Void) throws {
    let plainWorked = plainCall() == 0
    let reason = plainWorked ? "worked" : String(cString: strerror(errno))
    var failure: VolumeError?
    do { try volumeCall() } catch let error as VolumeError { failure = error }
    try #require(
      plainWorked == (failure == nil),
      "\(what): plain \(reason), volume \(String(describing: failure))"
    )
  }

  func step() throws {
    switch pick(1000) {
    case 0..<330: try write()
    case 330..<560: try compareRead()
    case 560..<640: try create()
    case 640..<690: try truncate()
    case 690..<740: try remove()
    case 740..<800: try rename()
    case 800..<850: try makeDirectory()
    case 850..<880: try removeDirectory()
    case 880..<895: try link()
    case 895..<930: try openHandle()
    case 930..<960: try releaseHandle()
    case 960..<970: try seal()
    case 970..<976: try volume.destage()
    case 976..<978: try reopen()
    case 978: try branch()
    case 979..<985: try buildAccumulated()
    default: try volume.sync()
    }
  }

  func write() throws {
    let count = 1 + (pick(8) == 0 ? pick(119_999) : pick(12_000))
    var offset = pick(6) == 0 ? pick(30) * 8192 : pick(250_000)
    let bytes = pool[pick(pool.count - 120_000)...].prefix(count)
    let useHandle = !handles.isEmpty && pick(3) == 0
    let target = path()
    if pick(5) == 0 { offset = offset / 8192 * 8192 }
    try both(
      "write \(target) \(offset) \(count)",
      {
        let descriptor =
          useHandle
          ? handles[0].descriptor : Glibc.open("\(plain)/\(target)", O_WRONLY | O_NOFOLLOW)
        guard descriptor >= 0 else { return -1 }
        defer { if !useHandle { close(descriptor) } }
        return bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, count, offset) } == count
          ? 0 : -1
      },
      {
        let file = useHandle ? handles[0].file : try volume.find(target).id
        try bytes.withUnsafeBytes { try volume.write(file, at: UInt64(offset), $0) }
      })
  }

  func compareRead() throws {
    let target = path()
    let offset = pick(300_000)
    let count = pick(60_000)
    guard let attributes = try? volume.find(target), attributes.kind == .regular else { return }
    let descriptor = Glibc.open("\(plain)/\(target)", O_RDONLY | O_NOFOLLOW)
    defer { close(descriptor) }
    let expected = [UInt8](unsafeUninitializedCapacity: count) { buffer, read in
      read = max(0, pread(descriptor, buffer.baseAddress, count, offset))
    }
    let found = try volume.read(attributes.id, at: UInt64(offset), count: count)
    try #require(same(found, expected), "read \(target) at \(offset)")
  }

  func create() throws {
    let target = path()
    try both(
      "create \(target)",
      {
        let descriptor = Glibc.open("\(plain)/\(target)", O_CREAT | O_EXCL | O_WRONLY, 0o640)
        if descriptor >= 0 { close(descriptor) }
        return descriptor < 0 ? -1 : 0
      },
      {
        let (parent, name) = try split(target)
        _ = try volume.create(name, in: parent, mode: 0o640)
      })
  }

  func truncate() throws {
    let target = path()
    let size = pick(3) == 0 ? 0 : pick(280_000)
    guard (try? volume.find(target))?.kind != .symbolicLink else { return }
    try both(
      "truncate \(target) \(size)", { Glibc.truncate("\(plain)/\(target)", size) },
      { try volume.truncate(try volume.find(target).id, to: UInt64(size)) })
  }

  func remove() throws {
    let target = path()
    try both(
      "unlink \(target)", { unlink("\(plain)/\(target)") },
      {
        let (parent, name) = try split(target)
        try volume.unlink(name, in: parent)
      })
  }

  func rename() throws {
    let from = path()
    let to = path()
    try both(
      "rename \(from) \(to)", { Glibc.rename("\(plain)/\(from)", "\(plain)/\(to)") },
      {
        let (parent, name) = try split(from)
        let (newParent, newName) = try split(to)
        try volume.rename(name, in: parent, to: newName, in: newParent)
      })
  }

  func makeDirectory() throws {
    let target = path()
    try both(
      "mkdir \(target)", { mkdir("\(plain)/\(target)", 0o700) },
      {
        let (parent, name) = try split(target)
        _ = try volume.makeDirectory(name, in: parent, mode: 0o700)
      })
  }

  func removeDirectory() throws {
    let target = path()
    try both(
      "rmdir \(target)", { rmdir("\(plain)/\(target)") },
      {
        let (parent, name) = try split(target)
        try volume.removeDirectory(name, in: parent)
      })
  }

  /// Only links that lead nowhere: the volume does not follow them.
  func link() throws {
    let target = path()
    try both(
      "symlink \(target)", { symlink("nowhere", "\(plain)/\(target)") },
      {
        let (parent, name) = try split(target)
        _ = try volume.makeSymbolicLink(name, in: parent, target: "nowhere")
      })
  }

  func openHandle() throws {
    let target = path()
    guard let found = try? volume.find(target), found.kind == .regular, handles.count < 4 else {
      return
    }
    handles.append(
      (try volume.open(found.id), found.id, Glibc.open("\(plain)/\(target)", O_RDWR)))
  }

  func releaseHandle() throws {
    guard !handles.isEmpty else { return }
    let last = handles.removeFirst()
    var expected = [UInt8](repeating: 0, count: 300_000)
    let count = pread(last.descriptor, &expected, expected.count, 0)
    let found = try volume.read(last.file, at: 0, count: expected.count)
    try #require(same(found, Array(expected[..<count])), "read through a handle")
    close(last.descriptor)
    try volume.release(last.handle)
  }

  func seal() throws {
    try buildAccumulated()
    let epoch = try volume.seal()
    try next.add(epoch)
    changes.add(epoch.files)
    let alive = Set(epoch.tree.entries.map(\.id))
    changes.keep { alive.contains($0) }
    pending = epoch
  }

  /// What is in the volume as of the last seal, whatever was written, destaged or unlinked since: by the
  /// blocks that changed since the last complete layer, or by all that does not come from the base.
  func buildAccumulated() throws {
    guard let epoch = pending else { return }
    pending = nil
    let decoded = try #require(ChangedBlocks.decode(changes.encode(epoch: epoch.number)))
    try #require(decoded.changes == changes && decoded.epoch == epoch.number)
    let isUnknown = pick(3) == 0
    var image = isUnknown ? base ?? MemoryBaseView() : complete
    let files = isUnknown ? volume.localBlocks() : changes.epochFiles()
    try image.add(AccumulatedEpoch(volume: volume, epoch: epoch, files: files))
    let (zeros, next) = (page(0), next)
    for entry in next.tree.entries where entry.kind == .regular {
      for block in 0..<UInt32((entry.size + 8191) / 8192) {
        let (a, b) = (image.blocks[entry.id]?[block], next.blocks[entry.id]?[block])
        try #require(
          same(a ?? zeros, b ?? zeros), "block \(block) of \(entry.name), unknown: \(isUnknown)")
      }
    }
    if pick(2) == 0 { (complete, changes) = (next, ChangedBlocks()) }
    if pick(4) != 0 { for epoch in volume.sealedEpochs { try volume.forget(epoch: epoch.number) } }
  }

  func closeHandles() throws {
    while !handles.isEmpty { try releaseHandle() }
  }

  func reopen() throws {
    try buildAccumulated()
    try closeHandles()
    try volume.close()
    volume = try Volume.open(configuration, base: base ?? EmptyBaseView())
    try compareAll()
  }

  /// Goes on with a new volume whose base is everything sealed so far.
  func branch() throws {
    try closeHandles()
    try seal()
    try buildAccumulated()
    (complete, changes) = (next, ChangedBlocks())
    try volume.close()
    try FileManager.default.removeItem(atPath: configuration.directory)
    volumeNumber += 1
    configuration.directory = "\(directory)/v\(volumeNumber)"
    base = next
    volume = try Volume.open(configuration, base: next)
    try compareAll()
  }

  func compareAll() throws {
    let expected = try plainContents()
    let found = try volume.contents()
    try #require(Set(found.keys) == Set(expected.keys))
    for (path, content) in expected {
      let matches = same(found[path].flatMap { $0 } ?? [], content ?? [])
      try #require(matches, "content of \(path)")
    }
  }

  func plainContents() throws -> [String: [UInt8]?] {
    var found: [String: [UInt8]?] = [:]
    let files = FileManager.default
    for path in try files.subpathsOfDirectory(atPath: plain) {
      let full = "\(plain)/\(path)"
      var status = stat()
      try #require(lstat(full, &status) == 0)
      switch status.st_mode & S_IFMT {
      case S_IFDIR: found.updateValue(nil, forKey: path)
      case S_IFLNK:
        found[path] = Array(try files.destinationOfSymbolicLink(atPath: full).utf8)
      default: found[path] = try plainFile(full, size: Int(status.st_size))
      }
    }
    return found
  }

  /// By plain calls: Foundation's reading keeps a page of memory for each empty file.
  private func plainFile(_ path: String, size: Int) throws -> [UInt8] {
    let descriptor = Glibc.open(path, O_RDONLY | O_NOFOLLOW)
    try #require(descriptor >= 0, "open \(path)")
    defer { close(descriptor) }
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = size == 0 ? 0 : max(0, pread(descriptor, buffer.baseAddress, size, 0))
    }
  }
}

@Suite struct DifferentialTests {
  /// `EXZO_VOLUME_OPERATIONS` and `EXZO_VOLUME_SEED` choose another run.
  @Test func volumeEqualsPlainDirectoryUnderRandomCalls() async throws {
    let environment = ProcessInfo.processInfo.environment
    let operations = environment["EXZO_VOLUME_OPERATIONS"].flatMap { Int($0) } ?? 100_000
    let seed = environment["EXZO_VOLUME_SEED"].flatMap { UInt64($0) } ?? 1
    // In memory where that is possible: nothing here depends on a sync, and there are thousands.
    let parent = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
    try await withTemporaryDirectory(in: parent) { directory in
      let run = try DifferentialRun(directory, seed: seed)
      for operation in 0..<operations {
        do {
          try run.step()
          if operation % 5000 == 4999 { try run.compareAll() }
        } catch {
          Issue.record("operation \(operation), EXZO_VOLUME_SEED=\(seed): \(error)")
          throw error
        }
      }
      try run.closeHandles()
      try run.compareAll()
      try run.volume.close()
    }
  }
}

/// As `withTemporaryDirectory`, below a given directory.
private func withTemporaryDirectory(
  in parent: String, _ body: (String) async throws -> Void
) async throws {
  let path = "\(parent)/exzo-test-\(UUID().uuidString.lowercased().prefix(13))"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  // A leftover directory is not worth hiding the test's own error.
  defer { try? FileManager.default.removeItem(atPath: path) }
  try await body(path)
}
