import Foundation
import History
import PostgresFormat

extension Agent {
  /// Stops the compute in the order that loses nothing; on return the mount is gone.
  ///
  /// On throw the compute is down as far as it went; nothing durable is lost, and a later start
  /// recovers.
  func suspend() async throws {
    guard status.phase == .running || status.phase == .failed else {
      throw ComputeError(.agent, "suspend the compute: it is \(status.phase.rawValue)")
    }
    if following != nil { return try await suspendFollowing() }
    let wasRunning = status.phase == .running
    status.phase = .stopping
    for task in background { task.cancel() }
    await keyframes?.end()
    for task in background { await task.value }
    background = []
    await server?.close()
    // Asked for before the shutdown begins, so that its end cannot be missed.
    let capture = capture
    if wasRunning { try await capture?.expectServerEnd(timeout: .seconds(5)) }
    let lastWAL = Task.detached { try await capture?.waitServerEnd(timeout: .seconds(150)) }
    await Task.yield()
    if let postmaster, postmaster.exitStatus == nil {
      postmaster.signal(wasRunning ? SIGINT : SIGQUIT)
      let ended = try await blocking { postmaster.waitForExit(seconds: 120) }
      if ended == nil {
        postmaster.signal(SIGKILL)
        _ = try await blocking { postmaster.waitForExit(seconds: 10) }
      }
    }
    try await blocking { [directory] in try endProcesses(workingIn: directory.mountPoint) }
    do {
      if wasRunning {
        try await storeRest(lastWAL)
      } else {
        lastWAL.cancel()
        try await capture?.stop()
      }
    } catch {
      // What could not be stored stays in spool and volume; the next start brings it there.
      log.error("stopped without storing everything", metadata: ["error": "\(error)"])
      lastWAL.cancel()
      try await takeDown()
      throw error
    }
    try await takeDown()
  }

  /// Brings the last WAL and the shutdown keyframe into the store.
  private func storeRest(_ lastWAL: Task<LSN?, any Error>) async throws {
    guard let capture, let keyframes, let prepared else { return }
    let control = try await blocking {
      try ImagePreparation(volume: prepared.volume, major: prepared.control.major).controlFile()
    }
    guard control.state == .shutDown else {
      lastWAL.cancel()
      try await capture.stop()
      throw ComputeError(
        .process, "stop the server: it did not shut down cleanly (state \(control.state))",
        hint: "nothing is lost: the next start recovers from the local volume")
    }
    guard let end = try await lastWAL.value else { return }
    _ = try await keyframes.seal(consistentAt: end)
    try await capture.stop(drainTo: end)
    try await blocking { [directory] in try DrainedMarker(directory).set() }
  }

  func takeDown() async throws {
    try await blocking { [mount, prepared, reading, specification] in
      specification.controlGroup?.remove()
      // Its workers end in any case.
      defer { prepared?.lazy?.close() }
      if let mount { _ = try mount.unmount() }
      try prepared?.volume.close()
      try reading?.close()
    }
    mount = nil
    if let prepared { noteHeldBack(prepared.volume) }
  }

  /// Starts the server again whenever it ends by itself.
  func superviseServer() {
    Task {
      var failures = 0
      for await status in serverEnds {
        guard self.status.phase == .running else { continue }
        // A bell of a server that has been followed by another already.
        if let postmaster, postmaster.exitStatus == nil { continue }
        log.error("server ended", metadata: ["how": "\(describe(waitStatus: status))"])
        if specification.follows != nil {
          failReplica("its server \(describe(waitStatus: status))")
          continue
        }
        failures += 1
        do {
          if failures > 1 { try await Task.sleep(for: .seconds(min(failures, 10))) }
          await keyframes?.noteRecovery()
          try await remount()
          try await startServer(recovering: false)
          if let server { await keyframes?.noteServer(version: try await server.version()) }
          failures = 0
          self.status.messages = []
          log.info("server is up again")
        } catch {
          log.error("server did not come up again", metadata: ["error": "\(error)"])
          // A full disk may have room again later: it is tried as long as the compute is wanted.
          self.status.messages = ["server did not come up again: \(error)"]
          serverEndsBell.yield(status)
        }
      }
    }
  }
}
