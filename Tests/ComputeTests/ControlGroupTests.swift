import Foundation
import TestSupport
import Testing

@testable import Compute

/// Limits by control groups: where they lie, what is written, and that the kernel holds to it.
@Suite(.serialized) struct ControlGroupTests {
  private static let hybrid = """
    31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
    32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
    """

  /// Starts look through many of them: Foundation's reading keeps memory where a file says nothing.
  @Test func filesOfTheKernelAreReadWithoutKeepingMemory() throws {
    func resident() throws -> Int {
      try #require(
        readControl("/proc/self/statm")?.split(separator: " ").dropFirst().first
          .flatMap { Int($0) })
    }
    #expect(readControl("/proc/self/none") == nil)
    #expect(readControl("/proc/self/status").map { $0.contains("Threads:") } == true)
    let before = try resident()
    for _ in 0..<20_000 { #expect(readControl("/dev/null") == "") }
    #expect(try resident() - before < 2_000, "pages of 4 KiB")
  }

  @Test func theKernelsTablesTellWhereGroupsLie() {
    let v1 = ControlGroupLayout(
      mounts: Self.hybrid, memberships: "4:memory:/service/a\n1:cpu:/\n0::/\n",
      controllers: { _ in "hugetlb" })
    #expect(
      v1?.version
        == .v1(memory: "/sys/fs/cgroup/memory/service/a", processor: "/sys/fs/cgroup/cpu"))
    let joined = ControlGroupLayout(
      mounts: "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct",
      memberships: "3:cpu,cpuacct:/user.slice\n", controllers: { _ in nil })
    #expect(
      joined?.version == .v1(memory: nil, processor: "/sys/fs/cgroup/cpu,cpuacct/user.slice"))
    var asked: [String] = []
    let v2 = ControlGroupLayout(
      mounts: "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
      memberships: "0::/system.slice/exzo.service\n",
      controllers: {
        asked.append($0)
        return "cpuset cpu io memory pids\n"
      })
    #expect(v2?.version == .v2("/sys/fs/cgroup/system.slice/exzo.service"))
    #expect(asked == ["/sys/fs/cgroup/system.slice/exzo.service"])
    // A container that sees its own part of the tree only.
    let part = ControlGroupLayout(
      mounts: "30 23 0:26 /docker/77 /sys/fs/cgroup rw - cgroup2 cgroup rw",
      memberships: "0::/docker/77\n", controllers: { _ in "cpu memory" })
    #expect(part?.version == .v2("/sys/fs/cgroup"))
    for none in ["", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw", "nonsense"] {
      #expect(
        ControlGroupLayout(mounts: none, memberships: "0::/\n", controllers: { _ in nil }) == nil)
    }
  }

  @Test func whatIsWrittenIsWhatTheKernelTakes() {
    let limits = ResourceLimits(memoryBytes: 1 << 30, processors: 0.25)
    #expect(limits.memoryV1.map { "\($0.0)=\($0.1)" } == ["memory.limit_in_bytes=1073741824"])
    #expect(
      limits.processorV1.map { "\($0.0)=\($0.1)" } == [
        "cpu.shares=256", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=25000",
      ])
    #expect(
      limits.unified.map { "\($0.0)=\($0.1)" } == [
        "memory.max=1073741824", "cpu.weight=25", "cpu.max=25000 100000",
      ])
    let memory = ResourceLimits(memoryBytes: nil, processors: nil)
    #expect(memory.unified.map { "\($0.0)=\($0.1)" } == ["memory.max=max"])
    #expect(memory.processorV1.isEmpty)
  }

  /// A directory with the files that the kernel would put into a group.
  private func fake(_ path: String) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    for name in [
      "cgroup.procs", "cgroup.subtree_control", "memory.max", "cpu.weight", "cpu.max",
    ] { try Data().write(to: URL(fileURLWithPath: "\(path)/\(name)")) }
  }

  private func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8)
  }

  @Test func aDelegatedGroupIsSplitBeforeItsChildrenAreLimited() async throws {
    try await withTemporaryDirectory { directory in
      let base = "\(directory)/exzo.service"
      for path in [base, "\(base)/exzo-serve", "\(base)/exzo-1", "\(base)/exzo-1/ln-1"] {
        try fake(path)
      }
      try "\(getpid())\n".write(toFile: "\(base)/cgroup.procs", atomically: false, encoding: .utf8)
      var layout = try #require(
        ControlGroupLayout(
          mounts: "1 2 0:3 / \(directory) rw - cgroup2 cgroup2 rw",
          memberships: "0::/exzo.service\n", controllers: { _ in "cpu memory" }))
      let groups = try ControlGroups.prepare(layout, name: "exzo-1", limitsProcessors: true)
      #expect(try text("\(base)/exzo-serve/cgroup.procs") == "\(getpid())")
      #expect(try text("\(base)/cgroup.subtree_control") == "+memory +cpu")
      #expect(try text("\(base)/exzo-1/cgroup.subtree_control") == "+memory +cpu")
      let group = groups.group(line: "ln-1", memoryBytes: 1 << 30, processors: 2)
      try group.make()
      try group.take(4711)
      #expect(try text("\(base)/exzo-1/ln-1/memory.max") == "\((1 << 30) + (256 << 20))")
      #expect(try text("\(base)/exzo-1/ln-1/cpu.max") == "200000 100000")
      #expect(try text("\(base)/exzo-1/ln-1/cgroup.procs") == "4711")
      // The next serve is in the leaf and finds the same groups.
      layout.version = .v2("\(base)/exzo-serve")
      #expect(
        try ControlGroups.prepare(layout, name: "exzo-1", limitsProcessors: true) == groups)
      // What is not there is named.
      let missing = groups.group(line: "ln-2/none", memoryBytes: 1, processors: 1)
      #expect { try missing.make() } throws: { "\($0)".contains("ln-2/none") }
    }
  }

  /// Whether this machine lets us make groups.
  static let isWritable: Bool = {
    do {
      _ = try ControlGroups.check()
      return true
    } catch { return false }
  }()

  private func outcome(in group: ControlGroup, _ script: String) throws -> (Int32, Duration) {
    // Nothing of the script runs before its shell is in the group.
    let pid = try spawn(
      ProcessCommand(
        path: "/bin/sh", arguments: ["-c", "sleep 0.3; \(script)"],
        environment: ["PATH": "/usr/bin:/bin"]))
    try group.take(pid)
    let start = ContinuousClock.now
    let status = reap(pid)
    return (status, ContinuousClock.now - start)
  }

  @Test(.enabled(if: isWritable, "no control groups can be made here: run as root"))
  func theKernelHoldsToTheLimits() throws {
    let name = "/nowhere/\(getpid())"
    let groups = try ControlGroups.prepare(dataDirectory: name, limitsProcessors: true)
    print("control groups: \(groups.summary)")
    var group = groups.group(line: "ln-test", memoryBytes: 1 << 30, processors: 0.2)
    group.limits.memoryBytes = 48 << 20
    defer {
      group.remove()
      group.removeParents()
      for directory in group.directories {
        #expect(access(directory.path, F_OK) != 0, "\(directory.path) is left")
      }
    }
    try group.make()
    // `tail` keeps a line whole: what fits passes, what does not is killed.
    let (fits, _) = try outcome(in: group, "head -c 8M /dev/zero | tail -n 1 > /dev/null")
    #expect(fits == 0, "\(describe(waitStatus: fits))")
    let (large, _) = try outcome(
      in: group, "head -c 400M /dev/zero | tail -n 1 > /dev/null; test $? -eq 0")
    #expect(large != 0, "400 MB in a group of 48 MB")
    // A fifth of a processor: a second of one takes five.
    let (busy, took) = try outcome(
      in: group,
      "exec /usr/bin/python3 -c 'import time\nwhile time.process_time() < 0.6: pass'")
    #expect(busy == 0)
    #expect(took > .seconds(2), "0.6 s of a fifth of a processor took \(took)")
  }
}
