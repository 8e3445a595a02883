import Foundation
import Logging
import TestSupport
import Testing
import Volume
import VolumeMount

@Suite(.serialized, .timeLimit(.minutes(3)), .enabled(if: canMount, mountNeeds))
struct MountSessionTests {
  @Test func unmountIsCleanAndMayBeRepeated() async throws {
    try await withMountedVolume { session in
      _ = try TestFile("\(session.path)/file")
      #expect(session.isServing)
      #expect(try session.unmount())
      #expect(!session.isServing)
      #expect(try session.unmount())
      #expect(try names(session.path) == [])
    }
  }

  @Test func unmountTakesOpenFilesAwayWhenTheGraceIsOver() async throws {
    try await withMountedVolume { session in
      let file = try TestFile("\(session.path)/file")
      try file.write(pattern(1, 100), at: 0)
      #expect(try session.unmount(grace: .milliseconds(100)) == false)
      #expect(!session.isServing)
      #expect(try names(session.path) == [])
      #expect(code { try file.sync() } != 0)
      #expect(code { try file.write([1], at: 0) } != 0)
    }
  }

  @Test func sessionEndsWhenSomeoneElseUnmounts() async throws {
    try await withMountedVolume { session in
      try run(["umount", session.path])
      session.waitUntilEnded()
      #expect(!session.isServing)
    }
  }

  @Test func volumeOutlivesItsSession() async throws {
    try await withTemporaryDirectory { directory in
      let mounted = try MountedVolume(in: directory)
      let file = try TestFile("\(mounted.session.path)/unlinked")
      try check("unlink", unlink("\(mounted.session.path)/unlinked"))
      try TestFile("\(mounted.session.path)/kept").write(pattern(1, 9_000), at: 0)
      try mounted.session.unmount(grace: .zero)
      #expect(code { _ = try file.status() } != 0 || code { try file.sync() } != 0)
      // The handle that the kernel never released is gone too, and the unlinked file with it.
      #expect(mounted.volume.statistics.files == 2)
      let again = try MountSession.mount(
        mounted.volume, at: mounted.session.path, options: MountOptions(logger: Logger(label: "t")))
      #expect(try TestFile("\(again.path)/kept", O_RDONLY).read(10_000, at: 0) == pattern(1, 9_000))
      #expect(code { try file.sync() } != 0)
      try again.unmount()
      try mounted.volume.close()
    }
  }

  @Test func mountPointsThatCannotServeAreNamed() async throws {
    try await withTemporaryDirectory { directory in
      let mounted = try MountedVolume(in: directory)
      defer { try? mounted.end() }  // the test's own failure is the one to report
      let failure = { (path: String) -> MountError? in
        #expect(throws: MountError.self) {
          try MountSession.mount(
            mounted.volume, at: path, options: MountOptions(logger: Logger(label: "test")))
        }
      }
      #expect(failure("\(directory)/missing")?.code == .mountPointUnusable)
      #expect(failure("\(directory)/missing/below")?.code == .mountPointUnusable)
      let full = try #require(failure(directory))
      #expect(full.code == .mountPointUnusable)
      #expect(full.description.contains("not empty"))
      #expect(full.hint != nil)
      #expect(failure(mounted.session.path)?.code == .alreadyMounted)
    }
  }

  @Test func killedServerLeavesAMountThatIsFoundAndCleared() async throws {
    try await withMountServer { server, _ in
      let file = try TestFile("\(server.path)/file")
      try file.write(pattern(1, 50_000), at: 0)
      try file.sync()
      #expect(!MountPoint.isDead(at: server.path))
      server.crash()
      #expect(MountPoint.isDead(at: server.path))
      #expect(code { try file.sync() } != 0)
      try MountPoint.clearDeadMount(at: server.path)
      #expect(!MountPoint.isDead(at: server.path))
      try server.start()
      #expect(try TestFile("\(server.path)/file").read(60_000, at: 0) == pattern(1, 50_000))
      // The old handle belongs to the server that died: never success, whatever runs now.
      #expect(code { try file.sync() } != 0)
      #expect(code { try file.write([1], at: 0) } != 0)
    }
  }

  @Test func liveMountIsNotCleared() async throws {
    try await withMountedVolume { session in
      try MountPoint.clearDeadMount(at: session.path)
      #expect(session.isServing)
      #expect(code { _ = try TestFile("\(session.path)/file") } == 0)
    }
  }

  @Test func everyFileShowsTheConfiguredOwner() async throws {
    try await withMountedVolume(ownerUID: 12_345) { session in
      _ = try TestFile("\(session.path)/file")
      #expect(try status("\(session.path)/file").st_uid == 12_345)
      #expect(try status(session.path).st_uid == 12_345)
      #expect(try status(session.path).st_mode == S_IFDIR | 0o700)
      #expect(code { try check("chown", chown("\(session.path)/file", 12_345, UInt32.max)) } == 0)
      #expect(code { try check("chown", chown("\(session.path)/file", 1, 1)) } == EPERM)
    }
  }

  @Test(.enabled(if: !postgresUserReachesDevice, "needs /dev/fuse closed to the user 'postgres'"))
  func missingPermissionIsNamedWithItsCure() async throws {
    try await withTemporaryDirectory { directory in
      try run(["chmod", "777", directory])
      try run(["mkdir", "\(directory)/mount"], asPostgresUser: true)
      let result = try run(
        [MountServer.program.path, "\(directory)/volume", "\(directory)/mount"],
        asPostgresUser: true, allowFailure: true)
      #expect(result.status != 0)
      #expect(result.errorOutput.contains("open '/dev/fuse': Permission denied"))
      #expect(result.errorOutput.contains("HINT: "))
    }
  }

  @Test func unmountLosesNothingThatWasWritten() async throws {
    try await withMountServer { server, _ in
      for number in 0..<20 {
        try TestFile("\(server.path)/\(number)").write(pattern(number, 10_000), at: 0)
      }
      server.stop()
      #expect(try names(server.path) == [])
      try server.start()
      for number in 0..<20 {
        #expect(
          try TestFile("\(server.path)/\(number)").read(20_000, at: 0) == pattern(number, 10_000))
      }
    }
  }
}

private let postgresUserReachesDevice =
  (try? run(["test", "-w", "/dev/fuse"], asPostgresUser: true)) != nil
