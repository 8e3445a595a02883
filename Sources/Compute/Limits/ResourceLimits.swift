/// What the processes of one compute may take of the machine.
public struct ResourceLimits: Codable, Sendable, Equatable {
  /// The most memory, page cache included; `nil`: no limit.
  public var memoryBytes: UInt64?
  /// The most processors at a time, and their weight where computes want more than there is; `nil`: all
  /// that are free.
  public var processors: Double?

  public init(memoryBytes: UInt64?, processors: Double?) {
    self.memoryBytes = memoryBytes
    self.processors = processors
  }

  /// Beyond a size's memory: what the kernel counts to the group that PostgreSQL does not ask for, such as
  /// page tables, sockets, and the pages of files while they are written.
  public static let allowance: UInt64 = 256 << 20

  /// Microseconds; the kernel's standard.
  private static let period = 100_000

  /// Files of a v1 memory group with what is written to them.
  var memoryV1: [(String, String)] {
    [("memory.limit_in_bytes", memoryBytes.map(String.init) ?? "-1")]
  }

  /// Of a v1 `cpu` group. A weight of 1,024 is the standard.
  var processorV1: [(String, String)] {
    guard let processors else { return [] }
    return [
      ("cpu.shares", "\(max(2, min(262_144, Int((processors * 1024).rounded()))))"),
      ("cpu.cfs_period_us", "\(Self.period)"),
      ("cpu.cfs_quota_us", "\(Self.quota(processors))"),
    ]
  }

  /// Of a v2 group. A weight of 100 is the standard.
  var unified: [(String, String)] {
    let memory = ("memory.max", memoryBytes.map(String.init) ?? "max")
    guard let processors else { return [memory] }
    return [
      memory, ("cpu.weight", "\(max(1, min(10_000, Int((processors * 100).rounded()))))"),
      ("cpu.max", "\(Self.quota(processors)) \(Self.period)"),
    ]
  }

  private static func quota(_ processors: Double) -> Int {
    max(1000, Int((processors * Double(period)).rounded()))
  }
}
