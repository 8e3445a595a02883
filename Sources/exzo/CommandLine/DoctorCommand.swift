import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Compute
import Foundation

/// `exzo doctor`: what is wrong on this machine, and how to mend it.
struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Tells what is wrong on this machine and how to mend it.")

  @Option(name: [.customShort("o"), .long], help: "How to print: table, json or yaml.")
  var output = OutputFormat.table
  @Option(help: "The data directory; without one, its checks are left out.") var dataDir: String?

  func run() async throws {
    var findings = Self.machine()
    if let dataDir { findings += Self.directory(dataDir) }
    findings.append(await Self.server())
    let report = Report(findings: findings)
    let text =
      switch output {
      case .table:
        Output.table(
          findings,
          [
            Column("CHECK") { $0.check }, Column("STATE") { $0.isGood ? "ok" : "WRONG" },
            Column("FOUND") { $0.found }, Column("WHAT TO DO") { $0.hint ?? "" },
          ])
      case .json: try Output.json(try APICoding.encode(report))
      case .yaml: try Output.yaml(try APICoding.encode(report))
      }
    print(text, terminator: "")
    if findings.contains(where: { !$0.isGood }) { throw ExitCode(ExitStatus.failure) }
  }

  private struct Report: Codable {
    var findings: [Finding]
  }

  struct Finding: Codable {
    var check: String
    var isGood: Bool
    var found: String
    var hint: String?

    enum CodingKeys: String, CodingKey {
      case check, found, hint
      case isGood = "ok"
    }
  }

  private static func machine() -> [Finding] {
    [
      attempt("volumes can be mounted") {
        try MachineCheck().run()
        return "/dev/fuse opens"
      },
      attempt("PostgreSQL is installed") {
        let found = try PostgresInstallation.find(
          major: Installation.postgresMajor, environment: ProcessInfo.processInfo.environment)
        return found.binaries
      },
      user(), openFiles(), limits(),
    ]
  }

  private static func attempt(_ check: String, _ body: () throws -> String) -> Finding {
    do {
      return Finding(check: check, isGood: true, found: try body())
    } catch let error as ComputeError {
      return Finding(check: check, isGood: false, found: error.message, hint: error.hint)
    } catch {
      return Finding(check: check, isGood: false, found: "\(error)")
    }
  }

  private static func user() -> Finding {
    let isRoot = getuid() == 0
    return Finding(
      check: "projects are apart", isGood: true,
      found: isRoot
        ? "root: each project runs as a user of its own" : "all run as user \(getuid())",
      hint: isRoot ? nil : "start serve as root to keep projects apart by user")
  }

  /// Nothing is wrong where there are none: computes run without limits.
  private static func limits() -> Finding {
    let check = "computes are limited"
    do {
      return Finding(check: check, isGood: true, found: try ControlGroups.check())
    } catch let error as ComputeError {
      return Finding(
        check: check, isGood: true, found: "no: \(error.message)",
        hint: error.hint + "; or set EXZO_COMPUTE_LIMITS=off")
    } catch {
      return Finding(check: check, isGood: true, found: "no: \(error)")
    }
  }

  private static func openFiles() -> Finding {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    let least: rlim_t = 4096
    return Finding(
      check: "enough open files", isGood: limit.rlim_max >= least, found: "\(limit.rlim_max)",
      hint: limit.rlim_max >= least
        ? nil : "raise it: ulimit -n \(least), or LimitNOFILE in systemd")
  }

  private static func directory(_ path: String) -> [Finding] {
    [space(path), lock(path), key(path)]
  }

  private static func space(_ path: String) -> Finding {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else {
      return Finding(
        check: "disk", isGood: false, found: "'\(path)': \(String(cString: strerror(errno)))",
        hint: "name the directory that serve was given, or start serve to make it")
    }
    let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
    let least: UInt64 = 2 << 30
    return Finding(
      check: "disk", isGood: free >= least, found: "\(free >> 20) MB free",
      hint: free >= least ? nil : "make room: below 2 GB writes are at risk")
  }

  private static func lock(_ path: String) -> Finding {
    let holder = DataDirectory.holder(of: path)
    return Finding(
      check: "serve runs", isGood: holder != nil,
      found: holder.map { "process \($0)" } ?? "nothing holds '\(path)'",
      hint: holder == nil ? "start it: exzo serve --data-dir \(path)" : nil)
  }

  private static func key(_ path: String) -> Finding {
    var status = stat()
    guard stat("\(path)/api-key", &status) == 0 else {
      return Finding(
        check: "API key", isGood: false, found: "no readable '\(path)/api-key'",
        hint: "the first start of serve writes it; read it as the user that runs serve")
    }
    let isPrivate = status.st_mode & 0o077 == 0
    return Finding(
      check: "API key", isGood: isPrivate,
      found: "mode \(String(status.st_mode & 0o777, radix: 8))",
      hint: isPrivate ? nil : "chmod 600 '\(path)/api-key'")
  }

  private static func server() async -> Finding {
    do {
      let location = try ServerLocator(environment: ProcessInfo.processInfo.environment).locate()
      let client = APIClient(server: location.host, key: location.key)
      let isReady = try await client.isReady()
      return Finding(
        check: "API answers", isGood: isReady, found: location.host,
        hint: isReady ? nil : "its metadata database does not answer; read the log of serve")
    } catch let error as APIClientError {
      return Finding(check: "API answers", isGood: false, found: error.message, hint: error.hint)
    } catch {
      return Finding(
        check: "API answers", isGood: false, found: "\(error)",
        hint: "start it: exzo serve --data-dir DIR; or set EXZO_API_HOST")
    }
  }
}
