import Foundation
import VolumeMount

/// What an agent that died leaves behind on this machine, and its removal.
struct AgentRemains {
  let directory: LineDirectory

  /// Ends the server's processes, takes the dead mount away, removes the socket. Blocks the thread.
  ///
  /// Nothing durable is touched: the volume's log holds what was synced.
  func clear() throws {
    try AgentLock.endHolder(directory)
    try endProcesses(workingIn: directory.mountPoint)
    if let bytes = FileManager.default.contents(atPath: directory.specification) {
      // One that cannot be read is written anew before the next start.
      let specification = try? JSONDecoder().decode(AgentSpecification.self, from: bytes)
      specification?.controlGroup?.remove()
    }
    try MountPoint.clearDeadMount(at: directory.mountPoint)
    unlink(directory.controlSocket)
    // A dead postmaster that nobody has reaped yet counts as alive to the next one.
    unlink("\(directory.run)/.s.PGSQL.5432")
    unlink("\(directory.run)/.s.PGSQL.5432.lock")
  }
}
