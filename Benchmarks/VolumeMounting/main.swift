import Foundation
import Glibc
import Logging
import PostgresFormat
import Volume
import VolumeMount

// Mounts a volume until SIGTERM: for tests and measurements.
//
//   VolumeMounting VOLUME-DIRECTORY MOUNT-POINT [--threads N] [--waiting N] [--owner NAME] [--cached]
//     [--handing-over]
//
// With --cached the kernel may keep writes, of a cluster with data checksums; and no checkpoint seals, so that what a
// crash leaves of relations is what fsync made durable. With --handing-over it has the kernel hand over what it holds,
// again and again.
// Prints "mounted" when requests are answered. Seals and forgets an epoch whenever Postgres has
// written its control file and whenever the log outgrows its budget, so that destaging runs as it
// does below a compute. At the end it unmounts, closes the volume and prints what was done.

func option(_ name: String) -> String? {
  guard let index = CommandLine.arguments.firstIndex(of: name) else { return nil }
  return CommandLine.arguments[index + 1]
}

func fail(_ error: any Error) -> Never {
  FileHandle.standardError.write(Data("VolumeMounting: \(error)\n".utf8))
  exit(1)
}

// Before any thread starts, so that all inherit it and sigwait(3) is the only taker.
var signals = sigset_t()
sigemptyset(&signals)
for signal in [SIGTERM, SIGINT] { sigaddset(&signals, signal) }
pthread_sigmask(SIG_BLOCK, &signals, nil)

let directory = CommandLine.arguments[1]
let mountPoint = CommandLine.arguments[2]
do {
  let isCached = CommandLine.arguments.contains("--cached")
  let volume = try Volume.open(
    VolumeConfiguration(
      directory: directory, classification: isCached ? checksumFileClass : postgresFileClass))
  if isCached { volume.holdBack { page, block in DataChecksum.verify(page, block: block).isWhole } }
  let sealing = SealingThread(volume: volume)
  if !isCached { volume.observeWrites { _, _ in sealing.request() } }
  volume.observePressure { sealing.request() }

  var options = MountOptions(logger: Logger(label: "mount"))
  options.cachesWrites = isCached
  if let count = option("--threads").flatMap(Int.init) { options.threadCount = count }
  if let count = option("--waiting").flatMap(Int.init) { options.waitingThreadCount = count }
  if let owner = getpwnam(option("--owner") ?? "postgres"), geteuid() == 0 {
    options.ownerUID = owner.pointee.pw_uid
    options.ownerGID = owner.pointee.pw_gid
  }
  if MountPoint.isDead(at: mountPoint) { try MountPoint.clearDeadMount(at: mountPoint) }
  let session = try MountSession.mount(volume, at: mountPoint, options: options)
  FileHandle.standardOutput.write(Data("mounted\n".utf8))
  if CommandLine.arguments.contains("--handing-over") {
    Thread.detachNewThread {
      do {
        while session.isServing { try session.handOver() }
      } catch {
        // The mount went while it was under way.
        if session.isServing { fail(error) }
      }
    }
  }
  var signal: Int32 = 0
  sigwait(&signals, &signal)
  let isClean = try session.unmount()
  sealing.finish()
  let statistics = volume.statistics
  try volume.close()
  FileHandle.standardOutput.write(Data("clean: \(isClean) \(statistics)\n".utf8))
} catch {
  fail(error)
}
