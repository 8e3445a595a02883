import DurableIO
import Glibc

/// Processes whose working directory is `directory`: every process of a server has PGDATA as its
/// own.
///
/// Read from `/proc`, it also finds those on a mount whose FUSE server is gone. Zombies have none
/// and
/// hold nothing any more.
public func processes(workingIn directory: String) -> [pid_t] {
  guard let handle = opendir("/proc") else { return [] }
  defer { closedir(handle) }
  var found: [pid_t] = []
  var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
  while let entry = readdir(handle) {
    let name = entry.entryName
    guard let pid = pid_t(name) else { continue }
    let length = readlink("/proc/\(name)/cwd", &buffer, Int(PATH_MAX))
    guard length > 0 else { continue }
    let target = String(decoding: buffer.prefix(length).map(UInt8.init(bitPattern:)), as: UTF8.self)
    if target == directory || target.hasPrefix(directory + "/")
      || target.hasPrefix(directory + " (deleted)")
    {
      found.append(pid)
    }
  }
  return found
}

/// Kills every process working in `directory` and returns once none is left.
///
/// Needed before a remount: a new mount has a new `st_dev`, so that the server's shared-memory
/// interlock would take a survivor for a stranger. Blocks the thread.
/// - Throws: ``ComputeError`` where one outlives `SIGKILL` for 10 s.
public func endProcesses(workingIn directory: String) throws {
  for attempt in 0..<1000 {
    let survivors = processes(workingIn: directory)
    if survivors.isEmpty { return }
    if attempt % 100 == 0 { for pid in survivors { kill(pid, SIGKILL) } }
    usleep(10_000)
  }
  throw ComputeError(
    .process,
    "end the processes of the compute in '\(directory)': "
      + "\(processes(workingIn: directory)) still exist 10 s after SIGKILL",
    hint: "look at their state with ps; a process in state D waits for a device")
}
