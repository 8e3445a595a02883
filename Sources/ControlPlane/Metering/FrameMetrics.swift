import APITypes
import Catalog
import Foundation

/// What the older routes' `metrics` chooses of a frame.
///
/// The reference's shape always has time, WAL and the history's size; the others are left out where metrics
/// are named and they are not.
struct FrameMetrics: Sendable {
  /// Those that a frame always has, and those that may be chosen.
  private static let always = [
    "active_time_seconds", "compute_time_seconds", "written_data_bytes",
    "synthetic_storage_size_bytes",
  ]
  private static let chosen = [
    "data_storage_bytes_hour", "logical_size_bytes", "logical_size_bytes_hour",
    "data_transfer_bytes",
  ]

  private let names: Set<String>

  /// - Parameter names: none for all.
  /// - Throws: ``ControlPlaneError`` naming the metrics that there are.
  init(_ names: [String]) throws {
    let all = Self.always + Self.chosen
    for name in names where !all.contains(name) {
      throw ControlPlaneError.value(
        "metrics", name, allowed: "one of \(all.joined(separator: ", "))")
    }
    self.names = Set(names.isEmpty ? all : names)
  }

  @Sendable func frame(_ frames: [UsageFrame], _ end: Date) -> API.ConsumptionFrame {
    var frame = ConsumptionService.frame(frames, end)
    if !names.contains("data_storage_bytes_hour") { frame.dataStorageBytesHour = nil }
    if !names.contains("logical_size_bytes") { frame.logicalSizeBytes = nil }
    if !names.contains("logical_size_bytes_hour") { frame.logicalSizeBytesHour = nil }
    if !names.contains("data_transfer_bytes") { frame.dataTransferBytes = nil }
    return frame
  }
}
