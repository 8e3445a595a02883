import Foundation
import Glibc

/// The control groups of an installation: a parent of its own below serve's group, a child for each compute.
///
/// *On disk* (`/sys/fs/cgroup`): `<group of serve>/exzo-<installation>/<line>`. Of v2, where a group with processes
/// cannot limit its children, serve moves into `<group of serve>/exzo-serve` first.
public struct ControlGroups: Sendable, Equatable {
  let parents: [ControlGroup.Directory]
  let limitsProcessors: Bool

  /// Finds what the machine offers and makes the installation's parent groups.
  /// - Parameters:
  ///   - dataDirectory: two installations on a machine have different ones.
  ///   - limitsProcessors: whether processor time is limited as well as memory.
  /// - Throws: ``ComputeError`` `.environment` saying what is missing.
  public static func prepare(
    dataDirectory: String, limitsProcessors: Bool
  ) throws -> ControlGroups {
    try prepare(
      try layout(), name: name(dataDirectory), limitsProcessors: limitsProcessors)
  }

  /// Where groups would be made; nothing is changed.
  /// - Throws: ``ComputeError`` `.environment` saying what is missing.
  public static func check() throws -> String {
    let (directories, version) =
      switch try layout().version {
      case .v1(let memory, let processor): ([memory, processor].compactMap { $0 }, "v1")
      case .v2(let own): ([own], "v2")
      }
    for directory in directories where access(directory, W_OK) != 0 {
      throw controlGroupFailure("write to", directory)
    }
    return "\(version): \(directories.joined(separator: ", "))"
  }

  private static func layout() throws -> ControlGroupLayout {
    let layout = ControlGroupLayout(
      mounts: readControl("/proc/self/mountinfo") ?? "",
      memberships: readControl("/proc/self/cgroup") ?? "",
      controllers: { readControl("\($0)/cgroup.controllers") })
    guard let layout else {
      throw ComputeError(
        .environment, "limit computes: no control groups for memory or processor time are mounted",
        hint: "mount cgroup2 on /sys/fs/cgroup; in a container, let it have them")
    }
    return layout
  }

  static func prepare(
    _ layout: ControlGroupLayout, name: String, limitsProcessors: Bool
  ) throws -> ControlGroups {
    let controllers = limitsProcessors ? "+memory +cpu" : "+memory"
    var parents: [ControlGroup.Directory] = []
    switch layout.version {
    case .v1(let memory, let processor):
      if let memory { parents.append(.init(kind: .memoryV1, path: "\(memory)/\(name)")) }
      if limitsProcessors, let processor {
        parents.append(.init(kind: .processorV1, path: "\(processor)/\(name)"))
      }
    case .v2(let own):
      let base = own.hasSuffix("/\(serveGroup)") ? String(own.dropLast(serveGroup.count + 1)) : own
      try delegate(base, controllers)
      parents.append(.init(kind: .unified, path: "\(base)/\(name)"))
    }
    for parent in parents {
      guard mkdir(parent.path, 0o755) == 0 || errno == EEXIST else {
        throw controlGroupFailure("make", parent.path)
      }
      switch parent.kind {
      case .memoryV1: break
      case .processorV1: try writeControl("\(parent.path)/cpu.shares", "\(1024 * computesWeight)")
      case .unified:
        try writeControl("\(parent.path)/cgroup.subtree_control", controllers)
        guard limitsProcessors else { break }
        try writeControl("\(parent.path)/cpu.weight", "\(100 * computesWeight)")
      }
    }
    return ControlGroups(parents: parents, limitsProcessors: limitsProcessors)
  }

  /// All computes together against another process or group beside them, which weighs 1.
  private static let computesWeight = 16
  private static let serveGroup = "exzo-serve"

  /// Lets children of a v2 group be limited: its own processes move into a child first.
  private static func delegate(_ base: String, _ controllers: String) throws {
    let control = "\(base)/cgroup.subtree_control"
    let enabled = FileManager.default.contents(atPath: control).map {
      Set(String(decoding: $0, as: UTF8.self).split { $0 == " " || $0 == "\n" })
    }
    let wanted = controllers.split(separator: " ").map { $0.dropFirst() }
    if enabled?.isSuperset(of: wanted) == true { return }
    let leaf = "\(base)/\(serveGroup)"
    guard mkdir(leaf, 0o755) == 0 || errno == EEXIST else {
      throw controlGroupFailure("make", leaf)
    }
    let processes = FileManager.default.contents(atPath: "\(base)/cgroup.procs").map {
      String(decoding: $0, as: UTF8.self).split(separator: "\n")
    }
    for process in processes ?? [] {
      do { try writeControl("\(leaf)/cgroup.procs", String(process)) } catch {
        // One that has ended meanwhile need not move.
        if pid_t(process).map({ kill($0, 0) == 0 }) == true { throw error }
      }
    }
    try writeControl(control, controllers)
  }

  /// FNV-1a of the path: names of groups are short.
  static func name(_ dataDirectory: String) -> String {
    let hash = dataDirectory.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) {
      ($0 ^ UInt64($1)) &* 0x100_0000_01b3
    }
    return "exzo-" + String(hash, radix: 16)
  }

  /// The group of a line's compute; nothing is made yet.
  /// - Parameters:
  ///   - memoryBytes: of its size; ``ResourceLimits/allowance`` comes on top.
  ///   - processors: of its size.
  public func group(line: String, memoryBytes: UInt64, processors: Double) -> ControlGroup {
    ControlGroup(
      directories: parents.map { .init(kind: $0.kind, path: "\($0.path)/\(line)") },
      limits: ResourceLimits(
        memoryBytes: memoryBytes + ResourceLimits.allowance,
        processors: limitsProcessors ? processors : nil))
  }

  /// Takes away groups that computes left behind; those with processes stay.
  public func clear() {
    for parent in parents {
      // A parent that is gone has nothing left behind.
      let children = (try? FileManager.default.contentsOfDirectory(atPath: parent.path)) ?? []
      for child in children { rmdir("\(parent.path)/\(child)") }
    }
  }

  /// What is limited, in words.
  public var summary: String {
    parents.map { parent in
      switch parent.kind {
      case .memoryV1: "memory (v1): \(parent.path)"
      case .processorV1: "processor time (v1): \(parent.path)"
      case .unified:
        "\(limitsProcessors ? "memory and processor time" : "memory") (v2): \(parent.path)"
      }
    }.joined(separator: ", ")
  }
}
