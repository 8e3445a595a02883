import Foundation
import TestSupport
import Testing

/// A machine is lost, and everything comes back from the object store.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct DisasterTests {
  /// Accounts, keys, projects, branches, snapshots, schedules, roles with their passwords; sealed or not.
  @Test(arguments: ["off", "on"])
  func everythingComesBackOnAnEmptyMachine(encryption: String) async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory, encryption: encryption)
      let first = try site.machine("first")
      try await first.start()
      let scene = try await DisasterScene(on: first)
      try await scene.write()
      let keyFile = try site.copyMasterKey(of: first)
      try first.lose(deletingData: true)
      let second = try site.machine("second", recovering: keyFile, ports: first)
      try await second.start()
      do {
        try await scene.check(on: second)
        #expect(second.log.contains("Recovered: 2 accounts, 2 projects, 3 branches"))
        // It is an installation like any other from now on: started again, without the flags.
        try second.shutDown()
        let again = try site.machine("second", plain: true, ports: first)
        try await again.start()
        try await scene.check(on: again)
        try again.shutDown()
      } catch {
        print(second.log.suffix(4000))
        try? second.lose(deletingData: false)  // the first error is the one to report
        throw error
      }
    }
  }

  /// The old machine was only away. What comes back cannot write, and says why.
  @Test func theOldMachineIsFencedOff() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let first = try site.machine("first")
      try await first.start()
      let scene = try await DisasterScene(on: first)
      try await scene.write()
      let keyFile = try site.copyMasterKey(of: first)
      // It still runs, cut off from everybody, while the other takes over.
      let second = try site.machine("second", recovering: keyFile)
      try await second.start()
      defer { try? second.lose(deletingData: false) }  // processes only; errors were reported
      first.serve?.wait()
      #expect(first.log.contains("has taken it over"), "\(first.log.suffix(2000))")
      #expect(first.log.contains("fenced off"))
      #expect(first.processes() == [], "computes of the old machine still run")
      // And when it is started again.
      let restarted = try run(
        site.arguments("first"), allowFailure: true)
      #expect(restarted.status == 1)
      #expect(restarted.errorOutput.contains("has taken it over"), "\(restarted.errorOutput)")
      #expect(restarted.errorOutput.contains("\(directory)/second/data"))
      try await scene.check(on: second, uri: second.uri(scene.uri))
      try second.shutDown()
    }
  }

  /// Its catalog cannot be read in the store, but its own database is whole.
  @Test func aRecoveryThatCannotBeTakesNothingFromTheOldMachine() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let first = try site.machine("first")
      try await first.start()
      defer { try? first.lose(deletingData: false) }  // processes only; errors were reported
      let keyFile = try site.copyMasterKey(of: first)
      try first.kill()
      try site.damageCatalog()
      let refused = try run(
        site.arguments("second") + ["--recover-from", site.store, "--master-key", keyFile],
        allowFailure: true)
      #expect(refused.status == 1)
      #expect(refused.errorOutput.contains("recover the catalog"), "\(refused.errorOutput)")
      // The store is still the old machine's, which stores its catalog anew.
      try await first.start()
      try first.kill()
      let second = try site.machine("second", recovering: keyFile)
      try await second.start()
      defer { try? second.lose(deletingData: false) }  // processes only; errors were reported
      #expect(second.log.contains("Recovered: 1 accounts"), "\(second.log.suffix(2000))")
    }
  }

  @Test func recoveryIsRefusedPlainlyWhereItCannotBe() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let first = try site.machine("first")
      try await first.start()
      let scene = try await DisasterScene(on: first)
      try await scene.write()
      let keyFile = try site.copyMasterKey(of: first)
      try first.lose(deletingData: false)
      func attempt(_ name: String, _ more: [String]) throws -> String {
        let result = try run(site.arguments(name) + more, allowFailure: true)
        #expect(result.status == 1, "\(more)")
        return result.errorOutput
      }
      // A directory that holds an installation.
      #expect(
        try attempt("first", ["--recover-from", site.store, "--master-key", keyFile])
          .contains("it holds an installation already"))
      // No key, and the wrong one.
      #expect(
        try attempt("none", ["--recover-from", site.store]).contains(
          "'\(directory)/none/data/master-key'"))
      let wrong = "\(directory)/wrong-key"
      try
        "exzo-master-key-1 \(Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString())\n"
        .write(toFile: wrong, atomically: true, encoding: .utf8)
      let refused = try attempt("wrong", ["--recover-from", site.store, "--master-key", wrong])
      #expect(refused.contains("it needs master key"), "\(refused)")
      // A store that is none, and one without a catalog.
      try FileManager.default.createDirectory(
        atPath: "\(directory)/empty", withIntermediateDirectories: true)
      #expect(
        try attempt(
          "empty-store", ["--recover-from", "file://\(directory)/empty", "--master-key", keyFile]
        )
        .contains("the object store holds none"))
      // A branch's last WAL is damaged: named, and nothing is served; a flag lets the others come back.
      let damaged = try site.damageNewestWAL(of: scene)
      let named = try attempt("damaged", ["--recover-from", site.store, "--master-key", keyFile])
      #expect(named.contains(damaged), "\(named)")
      let partial = try site.machine(
        "damaged", recovering: keyFile, more: ["--recover-despite-damage"])
      try await partial.start()
      defer { try? partial.lose(deletingData: false) }  // processes only; errors were reported
      #expect(partial.log.contains(damaged))
      #expect(partial.log.contains("1 branches are damaged"))
      let other = try partial.psql(partial.uri(scene.otherURI), "SELECT count(*) FROM t").output
      #expect(other == "10\n")
    }
  }

  /// A source that was mistyped leaves nothing behind, and the command goes through once it is corrected.
  @Test func aSourceThatWasMistypedCanBeCorrected() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let first = try site.machine("first")
      try await first.start()
      let keyFile = try site.copyMasterKey(of: first)
      try first.lose(deletingData: true)
      let files = FileManager.default
      func attempt(_ source: String, _ more: [String] = []) throws -> String {
        let result = try run(
          site.arguments("second") + ["--recover-from", source] + more, allowFailure: true)
        #expect(result.status == 1, "\(source) \(more)")
        return result.errorOutput
      }
      // No such directory, and one that holds no store; with a key of its own it would be made one.
      try files.createDirectory(
        atPath: "\(directory)/empty", withIntermediateDirectories: true)
      #expect(try attempt("file://\(directory)/typo").contains("'\(directory)/typo'"))
      #expect(try attempt("file://\(directory)/empty").contains("the object store holds none"))
      #expect(!files.fileExists(atPath: "\(directory)/typo"))
      #expect(try files.contentsOfDirectory(atPath: "\(directory)/empty/objects") == [])
      for name in ["recovery.json", "master-key"] {
        #expect(!files.fileExists(atPath: "\(directory)/second/data/\(name)"), "\(name)")
      }
      // Begun, and nothing is in the database yet: another source, if only in other words, takes its place.
      let away = ["--master-key", keyFile, "--metadata-url", "postgresql://u@127.0.0.1:1/d"]
      #expect(try attempt(site.store, away).contains("reach metadata database"))
      #expect(files.fileExists(atPath: "\(directory)/second/data/recovery.json"))
      let reworded = site.store + "?region=here"
      let second = try site.machine("second", recovering: keyFile, from: reworded)
      try await second.start()
      defer { try? second.lose(deletingData: false) }  // processes only; errors were reported
      #expect(second.log.contains("Recovered: 1 accounts"), "\(second.log.suffix(2000))")
      // Then no more.
      try second.shutDown()
      let refused = try attempt(site.store, ["--master-key", keyFile])
      #expect(refused.contains("was recovered from '\(reworded)'"), "\(refused)")
      // As an earlier version left it that was killed between the end and writing it down.
      let record = "\(directory)/second/data/recovery.json"
      try #"{"source":"\#(reworded)","token":"t","isFinished":false}"#
        .write(toFile: record, atomically: true, encoding: .utf8)
      let unclear = try attempt(reworded, ["--master-key", keyFile])
      #expect(unclear.contains("set \"isFinished\" to true in '\(record)'"), "\(unclear)")
    }
  }

  /// Killed at times spread over a recovery; gone on with by the next start, nothing served before its end.
  @Test func aRecoveryThatWasCutOffIsGoneOnWith() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let first = try site.machine("first")
      try await first.start()
      let scene = try await DisasterScene(on: first)
      try await scene.write()
      let keyFile = try site.copyMasterKey(of: first)
      try first.lose(deletingData: true)
      for delay in [20, 150, 400, 900, 1500] {
        let second = try site.machine("second", recovering: keyFile)
        try second.begin()
        try await Task.sleep(for: .milliseconds(delay))
        try second.lose(deletingData: false)
      }
      // Without the flag nothing half recovered is served.
      // Not there where none of them came as far as the catalog.
      let written = FileManager.default.contents(
        atPath: "\(directory)/second/data/recovery.json")
      let progress = String(decoding: written ?? Data(), as: UTF8.self)
      if progress.contains("\"isFinished\":false") {
        let refused = try run(site.arguments("second"), allowFailure: true)
        #expect(refused.status == 1)
        #expect(refused.errorOutput.contains("was not finished"), "\(refused.errorOutput)")
      }
      let last = try site.machine("second", recovering: keyFile)
      try await last.start()
      defer { try? last.lose(deletingData: false) }  // processes only; errors were reported
      try await scene.check(on: last, uri: last.uri(scene.uri))
    }
  }

  /// The first store is lost with the machine; the copy of it has everything that was copied.
  @Test func theSecondStoreBringsItBack() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let mirror = "file://\(directory)/mirror"
      let first = try site.machine("first", more: ["--mirror", mirror])
      try await first.start()
      let scene = try await DisasterScene(on: first)
      try await scene.write()
      let keyFile = try site.copyMasterKey(of: first)
      let copied = try run([
        Platform.program, "store", "mirror", "--from", site.store, "--to", mirror,
      ])
      #expect(copied.output.contains("missing    0"), "\(copied.output)")
      try first.lose(deletingData: true)
      try FileManager.default.removeItem(atPath: "\(directory)/store")
      let second = try site.machine("second", recovering: keyFile, from: mirror)
      try await second.start()
      defer { try? second.lose(deletingData: false) }  // processes only; errors were reported
      try await scene.check(on: second, uri: second.uri(scene.uri))
    }
  }

  /// The data directory deleted under load, three times in each durability.
  @Test(arguments: ["local", "object-store"])
  func aMachineLostUnderLoadLosesNoMoreThanItMay(durability: String) async throws {
    try await withTemporaryDirectory { directory in
      let script = "\(FileManager.default.currentDirectoryPath)/Benchmarks/loss.py"
      let result = try run(
        [
          "env", "EXZO=\(Platform.program)", "HOME=\(directory)", "python3", script, "--rounds",
          "3",
          "--durability", durability, "--directory", "\(directory)/loss",
        ], allowFailure: true)
      print(result.output)
      #expect(result.status == 0, "\(result.output)\(result.errorOutput)")
    }
  }
}
