import APITypes
import Compute
import Foundation

/// Looks at a machine and a data directory: what is wrong, and how to mend it. Changes nothing.
enum Doctor {
  typealias Finding = API.DoctorFinding

  /// Versions, and what is found here, for the support bundles of a serve that runs.
  static func report(dataDirectory: String) async -> API.MachineReport {
    var postgres: String?
    // Without PostgreSQL there is a finding that says so, and no version.
    if let installation = try? PostgresInstallation.find(
      major: Installation.postgresMajor, environment: ProcessInfo.processInfo.environment),
      let said = try? await runProgram(installation.server, ["--version"], seconds: 10)
    {
      postgres = said.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
    return API.MachineReport(
      postgresVersion: postgres, doctor: machine() + directory(dataDirectory))
  }

  /// The machine itself.
  static func machine() -> [Finding] {
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

  /// A data directory, whose serve should run.
  static func directory(_ path: String) -> [Finding] {
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
}
