import Glibc
import PostgresFormat
import Volume
import VolumeMount

extension Agent {
  /// Mounts a volume for the server.
  /// - Parameter cachesWrites: lets the kernel keep writes until `fsync`; the cluster has checksums by which
  ///   the volume knows whole pages ([why](docs/decisions/2026-11-26-write-back-cache.md)).
  func mount(_ volume: Volume, cachingWrites cachesWrites: Bool = false) async throws
    -> MountSession
  {
    if cachesWrites {
      volume.holdBack { page, block in
        switch DataChecksum.verify(page, block: block) {
        case .valid, .unused: true
        case .mismatch, .malformed: false
        }
      }
    }
    var options = MountOptions(
      ownerUID: specification.identity.uid, ownerGID: specification.identity.gid, logger: log)
    options.cachesWrites = cachesWrites
    options.onLostWrite = { [weak self] file, error in
      // A file that is gone nobody misses; of a temporary one only who reads it.
      guard let path = volume.path(of: file), !isTemporary(path) else { return }
      Task { await self?.writeWasLost(path, error) }
    }
    return try await blocking { [directory, options] in
      try MountSession.mount(volume, at: directory.mountPoint, options: options)
    }
  }

  /// Takes the mount away and puts it there anew, for a server that has ended: pages that the kernel still had are
  /// written out, and those of which a killed process had written half go back to what they were.
  func remount() async throws {
    guard let prepared else { return }
    if let former = mount {
      guard former.cachesWrites else { return }
      _ = try await blocking { [directory] in
        try endProcesses(workingIn: directory.mountPoint)
        return try former.unmount()
      }
      // Before anything can fail: a second try must not take it for the new one.
      mount = nil
    }
    noteHeldBack(prepared.volume)
    // What recovery finds is what the log must have, however the mount went: a page that it takes for written is
    // not written again.
    try await blocking { [volume = prepared.volume] in
      volume.dropHeldBack()
      try volume.confirm()
    }
    mount = try await mount(prepared.volume, cachingWrites: true)
  }

  /// Brings into the volume what the server has written and the kernel holds; see ``MountSession/handOver()``.
  func handOverWrites() async throws {
    guard let mount else { return }
    try await blocking { try mount.handOver() }
  }

  /// Logs how often blocks were held back.
  func noteHeldBack(_ volume: Volume) {
    let statistics = volume.statistics
    log.info(
      "unmounted",
      metadata: [
        "heldBack": "\(statistics.heldBack)", "heldBackWhole": "\(statistics.heldBackWhole)",
        "logged": "\(statistics.bytesLogged)",
      ])
  }

  /// The server believes that a page is written which is not: it starts anew, from its WAL.
  private func writeWasLost(_ path: String, _ error: any Error) {
    guard status.phase == .running, let postmaster, postmaster.exitStatus == nil,
      postmaster.pid != serverToldOfLoss
    else { return }
    serverToldOfLoss = postmaster.pid
    log.error(
      "a write was lost: the server starts anew",
      metadata: ["file": "\(path)", "error": "\(error)"])
    postmaster.signal(SIGQUIT)
  }
}

/// Whether a file is of one query or session only.
private func isTemporary(_ path: String) -> Bool {
  let kind = DataFileKind(path: path)
  if case .slru = kind { return false }
  return kind.isTransient
}
