import Foundation
import Synchronization
import TestSupport
import Testing
import Volume
import VolumeMount

/// A mount whose writes the kernel keeps for a while.
@Suite(.serialized, .heavy, .timeLimit(.minutes(3)), .enabled(if: canMount, mountNeeds))
struct WriteBackTests {
  @Test func aHandOverBringsInWhatTheKernelHoldsOfNewFiles() async throws {
    try await withMount { mounted, _ in
      let path = mounted.session.path
      let files = try (0..<20).map { try TestFile("\(path)/pages\($0)") }
      var held = 0
      for (number, file) in files.enumerated() {
        for block in 0..<16 { try file.write(page(number + 1), at: block * 8192) }
        if try mounted.volume.readFile("pages\(number)").count < 16 * 8192 { held += 1 }
      }
      let gone = try TestFile("\(path)/pages-gone")
      try gone.write(page(99), at: 0)
      try check("unlink", unlink("\(path)/pages-gone"))
      let outside = try TestFile("\(path)/scratch")
      try outside.write(page(98), at: 0)
      #expect(held > 0, "the kernel held nothing back: this shows nothing")
      try mounted.session.handOver()
      for number in 0..<20 {
        let found = try mounted.volume.readFile("pages\(number)")
        #expect(found == [UInt8](repeating: UInt8(number + 1), count: 16 * 8192), "\(number)")
      }
    }
  }

  /// Also in the same tick of the clock by which the kernel tells that a file was written to.
  @Test func aHandOverBringsInWhatWasWrittenRightAfterASync() async throws {
    try await withMount { mounted, _ in
      let file = try TestFile("\(mounted.session.path)/pages")
      for fill in 1...200 {
        try file.write(page(fill), at: 0)
        try file.sync()
        try file.write(page(fill + 1), at: 8192)
        try file.write(page(fill + 1), at: 0)
        try mounted.session.handOver()
        #expect(try mounted.volume.readFile("pages") == page(fill + 1) + page(fill + 1), "\(fill)")
      }
    }
  }

  /// A thread that waits for its own process's answer must not keep it alive.
  @Test func aServerKilledInItsHandOverEnds() async throws {
    try await withTemporaryDirectory { directory in
      let server = try MountServer(in: directory, cachesWrites: true, handsOver: true)
      defer { #expect(throws: Never.self) { try server.end() } }
      for kill in 0..<20 {
        let files = try (0..<8).map { try TestFile("\(server.path)/base-\(kill)-\($0)") }
        for round in 0..<10 * (1 + kill % 4) {
          for file in files { try file.write(page(round + 1), at: round * 8192) }
        }
        #expect(server.crashes(within: 5), "kill \(kill)")
        try server.start()
      }
    }
  }

  @Test func whatFoundNoRoomIsToldAndNeverReadAsWhatItWas() async throws {
    try await withTemporaryDirectory { directory in
      try await withSmallDisk(in: directory, size: "16m") { disk in
        do {
          try fill(disk)
        } catch {
          // The first error is the one to report.
          _ = try? run(["umount", "-l", "\(disk)/mount"])
          throw error
        }
      }
    }
  }

  private func fill(_ disk: String) throws {
    let told = Mutex<Set<FileID>>([])
    let mounted = try MountedVolume(
      in: disk, cachesWrites: true,
      onLostWrite: { file, _ in told.withLock { _ = $0.insert(file) } })
    for name in ["scratch", "pages"] {
      let path = "\(mounted.session.path)/\(name)"
      let file = try TestFile(path)
      for block in 0..<4096 { try file.write(page(3), at: block * 8192) }
      #expect(code { try file.sync() } != 0, "\(name)")
      // The kernel has told it: it would let the next one pass.
      #expect(code { try TestFile(path).sync() } == EIO, "\(name)")
      let id = try mounted.volume.find(name).id
      let wasTold = told.withLock { $0.contains(id) }
      #expect(wasTold, "\(name)")
      posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
      var refused = 0
      for block in 0..<4096 {
        do {
          #expect(try file.read(8192, at: block * 8192) == page(3), "\(name) \(block)")
        } catch let error as CallError {
          #expect(error.code == EIO)
          refused += 1
        }
      }
      #expect(refused > 0, "\(name): every page is still in the kernel: this shows nothing")
      try check("unlink", unlink(path))
    }
    _ = try mounted.session.unmount()
    try mounted.volume.close()
  }

  /// Two processes write whole pages, a third has the kernel send them all the while and sometimes syncs: what a
  /// power cut leaves at any moment is whole pages, whether mixtures are told by their content or not at all.
  @Test(arguments: [true, false])
  func whateverTheKernelSendsMeanwhileAPowerCutLeavesWholePages(isTold: Bool) async throws {
    let check: WholeBlockCheck = { page, _ in !isTold || page.allSatisfy { $0 == page[0] } }
    try await withMount(isWhole: check) { mounted, directory in
      let path = "\(mounted.session.path)/pages"
      let file = try TestFile(path)
      for block in 0..<Storm.blocks { try file.write(page(1), at: block * 8192) }
      try file.sync()
      let storm = try Storm(path, in: directory)
      defer { storm.end() }
      var seen: Set<[UInt8]> = []
      for cut in 0..<6 {
        try await Task.sleep(for: .milliseconds(300))
        // Still while it is copied, so that the copy is of one instant.
        storm.signal(SIGSTOP)
        seen.insert(try afterPowerCut(mounted.volume, in: "\(directory)/cut\(cut)"))
        storm.signal(SIGCONT)
      }
      #expect(seen.count > 1, "nothing was synced meanwhile: this shows nothing")
      storm.end()
      try file.sync()
      let pages = try file.read(Storm.blocks * 8192, at: 0)
      #expect(try mounted.volume.readFile("pages") == pages, "synced, and not what is read")
      let statistics = mounted.volume.statistics
      print("held back \(statistics.heldBack), whole \(statistics.heldBackWhole)")
      #expect(!isTold || statistics.heldBackWhole > 0, "no mixture came: this shows nothing")
    }
  }

  /// The file of pages as it is found in a copy of a volume's directory.
  private func afterPowerCut(_ volume: Volume, in copy: String) throws -> [UInt8] {
    try run(["cp", "-a", volume.configuration.directory, copy])
    var configuration = volume.configuration
    configuration.directory = copy
    let survivor = try Volume.open(configuration)
    let found = try survivor.readFile("pages")
    #expect(found.count == Storm.blocks * 8192)
    for block in 0..<found.count / 8192 {
      let bytes = found[block * 8192..<(block + 1) * 8192]
      #expect(bytes.allSatisfy { $0 == bytes.first }, "block \(block) is a mixture")
    }
    try survivor.close()
    try run(["rm", "-r", copy])
    return found
  }

  /// Files written, cut, made longer, removed while they are open, renamed and made anew, their pages still in the
  /// kernel or not: what is read, and after all of it what the volume has, is what was done.
  @Test(arguments: 0..<4) func filesThatComeAndGoHoldWhatWasWritten(seed: Int) async throws {
    try await withMount { mounted, _ in
      var tree = ModelTree(mounted.session.path, seed: seed)
      for step in 0..<1500 {
        try tree.step()
        if step % 100 == 99 { try mounted.session.handOver() }
        if let (name, bytes) = try tree.synced() {
          #expect(try mounted.volume.readFile(name) == bytes, "step \(step): \(name) after fsync")
        }
      }
      let expected = tree.contents
      tree.closeAll()
      for (name, bytes) in expected {
        #expect(try mounted.volume.readFile(name) == bytes, "\(name) after close")
      }
      #expect(try names(mounted.session.path) == expected.keys.sorted())
    } then: { (volume, expected) throws in
      for (name, bytes) in expected {
        #expect(try volume.readFile(name) == bytes, "\(name), opened anew")
      }
    }
  }

  // MARK: Set-up

  private func page(_ fill: Int) -> [UInt8] { [UInt8](repeating: UInt8(fill), count: 8192) }

  /// - Parameter then: is given the volume opened anew, and what it held when it was unmounted.
  private func withMount(
    isWhole: WholeBlockCheck? = nil,
    _ body: (MountedVolume, _ directory: String) async throws -> Void,
    then: (Volume, [String: [UInt8]]) throws -> Void = { _, _ in }
  ) async throws {
    try await withTemporaryDirectory { directory in
      let mounted =
        try isWhole.map { try MountedVolume(in: directory, cachesWrites: true, isWhole: $0) }
        ?? MountedVolume(in: directory, cachesWrites: true)
      do {
        try await body(mounted, directory)
      } catch {
        try? mounted.end()  // the first error is the one to report
        throw error
      }
      var held: [String: [UInt8]] = [:]
      for entry in try mounted.volume.list(.root) where entry.name != "scratch" {
        held[entry.name] = try mounted.volume.readFile(entry.name)
      }
      try mounted.end()
      let again = try Volume.open(mounted.volume.configuration)
      try then(again, held)
      try again.close()
    }
  }
}

/// Two processes that write pages of one byte each, and one that has the kernel send them, and syncs at times.
private final class Storm {
  static let blocks = 24
  private var programs: [BackgroundProgram] = []

  init(_ path: String, in directory: String) throws {
    for number in 0..<3 {
      programs.append(
        try BackgroundProgram(
          ["python3", "-c", Self.script, path, "\(number)"], log: "\(directory)/storm-\(number)"))
    }
  }

  func signal(_ number: Int32) { for program in programs { program.signal(number) } }

  func end() {
    signal(SIGTERM)
    signal(SIGCONT)
    for program in programs { program.wait() }
    programs = []
  }

  private static let script = """
    import ctypes, os, random, signal, sys, time
    # A write that is under way ends first: what a killed writer leaves is the subject of others.
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    path, number = sys.argv[1], int(sys.argv[2])
    file = os.open(path, os.O_RDWR)
    libc = ctypes.CDLL(None)
    libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint]
    chance = random.Random(number)
    pages = [bytes([fill]) * 8192 for fill in range(1, 256)]
    while going:
        if number == 2:
            if chance.randrange(20):
                libc.sync_file_range(file, 0, 0, 2)
            else:
                os.fsync(file)
            time.sleep(0.002)
        else:
            os.pwrite(file, chance.choice(pages), chance.randrange(24) * 8192)
    """
}

/// What files should hold, and the files.
private struct ModelTree {
  private let path: String
  private var random: SeededRandom
  private(set) var contents: [String: [UInt8]] = [:]
  private var open: [String: TestFile] = [:]
  /// Removed, and written to all the same.
  private var removed: [TestFile] = []
  private var lastSynced: String?

  init(_ path: String, seed: Int) {
    self.path = path
    random = SeededRandom(seed: UInt64(seed) + 77)
  }

  mutating func closeAll() {
    open = [:]
    removed = []
  }

  /// What was synced by the last step.
  mutating func synced() throws -> (String, [UInt8])? {
    defer { lastSynced = nil }
    guard let name = lastSynced, let bytes = contents[name] else { return nil }
    return (name, bytes)
  }

  mutating func step() throws {
    let isPaged = random.pick(0...2) > 0
    let name = isPaged ? "pages\(random.pick(0...3))" : "plain\(random.pick(0...1))"
    let file = try file(name)
    let size = contents[name]?.count ?? 0
    switch random.pick(0...19) {
    case 0...9: try write(name, file, isPaged: isPaged, size: size)
    case 10, 11: try cut(name, file, to: random.pick(0...24) * (isPaged ? 8192 : 3001))
    case 12: try file.send()
    case 13: try extend(name, file, size: size)
    case 14:
      try file.sync()
      lastSynced = name
    case 15: try remove(name, file)
    case 16: try move(name, isPaged: isPaged)
    default: try look(name, file, size: size)
    }
  }

  private mutating func file(_ name: String) throws -> TestFile {
    if let known = open[name] { return known }
    let made = try TestFile("\(path)/\(name)")
    open[name] = made
    if contents[name] == nil { contents[name] = [] }
    return made
  }

  private mutating func write(
    _ name: String, _ file: TestFile, isPaged: Bool, size: Int
  ) throws {
    let offset = isPaged ? random.pick(0...24) * 8192 : random.pick(0...size + 5000)
    let length = isPaged ? 8192 * random.pick(1...3) : random.pick(1...9000)
    var bytes: [UInt8] = []
    for _ in 0..<(isPaged ? length / 8192 : 1) {
      bytes += [UInt8](
        repeating: UInt8(random.pick(1...255)), count: isPaged ? 8192 : length)
    }
    try file.write(bytes, at: offset)
    var whole = contents[name] ?? []
    if whole.count < offset + length {
      whole += [UInt8](repeating: 0, count: offset + length - whole.count)
    }
    whole.replaceSubrange(offset..<offset + length, with: bytes)
    contents[name] = whole
  }

  private mutating func cut(_ name: String, _ file: TestFile, to size: Int) throws {
    try file.truncate(size)
    let whole = contents[name] ?? []
    contents[name] =
      whole.prefix(size) + [UInt8](repeating: 0, count: max(0, size - whole.count))
  }

  private mutating func extend(_ name: String, _ file: TestFile, size: Int) throws {
    try file.allocate(size, 16_384)
    contents[name, default: []] += [UInt8](repeating: 0, count: 16_384)
  }

  private mutating func remove(_ name: String, _ file: TestFile) throws {
    try check("unlink", unlink("\(path)/\(name)"))
    contents[name] = nil
    open[name] = nil
    try file.write([UInt8](repeating: 7, count: 8192), at: 8192)
    removed.append(file)
    if removed.count > 3 { removed.removeFirst() }
  }

  private mutating func move(_ name: String, isPaged: Bool) throws {
    let target = isPaged ? "pages\(random.pick(4...5))" : "plain\(random.pick(2...3))"
    try check("rename", rename("\(path)/\(name)", "\(path)/\(target)"))
    contents[target] = contents.removeValue(forKey: name)
    if let replaced = open[target] { removed.append(replaced) }
    open[target] = open.removeValue(forKey: name)
  }

  private mutating func look(_ name: String, _ file: TestFile, size: Int) throws {
    let end = try file.end()
    guard end == size else {
      throw CommandFailure(description: "\(name) ends at \(end), not \(size)")
    }
    let offset = random.pick(0...max(0, size - 1))
    let found = try file.read(8192, at: offset)
    guard found.elementsEqual((contents[name] ?? []).dropFirst(offset).prefix(8192)) else {
      throw CommandFailure(description: "\(name) reads otherwise at \(offset) of \(size)")
    }
  }
}
