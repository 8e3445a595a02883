import Compute
import ControlPlane
import Foundation
import Glibc
import ObjectStorage

extension FleetAdapter {
  func health() async -> FleetHealth {
    var health = FleetHealth()
    await withTaskGroup(of: FleetHealth.Compute?.self) { group in
      for line in fleet.lines() where !line.hasPrefix(Self.readingPrefix) {
        group.addTask { await self.health(line: line) }
      }
      for await compute in group { if let compute { health.computes.append(compute) } }
    }
    var status = statvfs()
    if statvfs(fleet.configuration.dataDirectory, &status) == 0 {
      health.freeBytes = UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }
    if let mirror = mirror?.status, mirror.lastPassEndedAt != nil {
      health.mirror = FleetHealth.Mirror(
        lag: mirror.lag(now: Date().timeIntervalSince1970), missingObjects: mirror.missingObjects,
        failure: mirror.failure)
    }
    return health
  }

  private func health(line: String) async -> FleetHealth.Compute? {
    guard let status = await fleet.client(line: line).status(), status.phase == .running,
      // A line whose specification cannot be read is not one that the control plane started.
      let specification = try? fleet.specification(line: line)
    else { return nil }
    // Until a server elsewhere is copied its commits are there, and old ones come in.
    let isCopying = status.source.map { $0.phase == .copying || $0.phase == .storing } ?? false
    return FleetHealth.Compute(
      lineID: line, projectID: specification.projectID,
      exposureSeconds: isCopying ? 0 : status.exposureSeconds,
      walBytes: bytes(below: fleet.directory(line: line).wal), alarms: status.messages)
  }

  /// Of the files in a directory; those that go while they are counted are not.
  private func bytes(below path: String) -> UInt64 {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return names.reduce(0) { sum, name in
      var found = stat()
      return stat("\(path)/\(name)", &found) == 0 ? sum + UInt64(found.st_size) : sum
    }
  }
}
