/// Where this machine's control groups lie, as the kernel tells it: see cgroups(7).
///
/// Groups are made below the one that this process is in, which is what a service manager has delegated to it.
struct ControlGroupLayout: Sendable, Equatable {
  enum Version: Sendable, Equatable {
    /// One hierarchy for each controller, which may be missing.
    case v1(memory: String?, processor: String?)
    /// One hierarchy for all.
    case v2(String)
  }

  var version: Version

  /// - Parameters:
  ///   - mounts: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
  ///   - memberships: `/proc/self/cgroup`.
  ///   - controllers: of a v2 directory, its `cgroup.controllers`; `nil` where it has none.
  /// - Returns: `nil` where neither memory nor processor time can be limited.
  init?(mounts: String, memberships: String, controllers: (String) -> String?) {
    let mounts = mounts.split(separator: "\n").compactMap { Mount(line: $0) }
    let own = Self.groups(memberships)
    func directory(_ mount: Mount, _ group: String) -> String {
      // A mount may show a part of the hierarchy only.
      var path = Substring(group)
      if mount.root != "/", path.hasPrefix(mount.root) { path = path.dropFirst(mount.root.count) }
      while path.hasSuffix("/") { path = path.dropLast() }
      return mount.point + path
    }
    if let mount = mounts.first(where: { $0.type == "cgroup2" }), let group = own[""] {
      let path = directory(mount, group)
      let offered = Set((controllers(path) ?? "").split { $0 == " " || $0 == "\n" })
      if offered.isSuperset(of: ["memory", "cpu"]) {
        version = .v2(path)
        return
      }
    }
    func v1(_ controller: String) -> String? {
      guard
        let mount = mounts.first(where: {
          $0.type == "cgroup" && $0.options.contains(Substring(controller))
        }), let group = own[controller]
      else { return nil }
      return directory(mount, group)
    }
    let found = (memory: v1("memory"), processor: v1("cpu"))
    guard found.memory != nil || found.processor != nil else { return nil }
    version = .v1(memory: found.memory, processor: found.processor)
  }

  /// By controller; v2's is the empty one.
  private static func groups(_ memberships: String) -> [String: String] {
    var groups: [String: String] = [:]
    for line in memberships.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      for controller in fields[1].split(separator: ",", omittingEmptySubsequences: false) {
        groups[String(controller)] = String(fields[2])
      }
    }
    return groups
  }

  private struct Mount {
    var root: String
    var point: String
    var type: Substring
    var options: [Substring]

    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS…] - TYPE SOURCE SUPEROPTIONS`
    init?(line: Substring) {
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else {
        return nil
      }
      root = String(fields[3])
      point = String(fields[4])
      type = fields[dash + 1]
      options = fields[dash + 3].split(separator: ",")
    }
  }
}
