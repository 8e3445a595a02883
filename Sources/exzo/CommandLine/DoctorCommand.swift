import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

/// `exzo doctor`: what is wrong on this machine, and how to mend it.
struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Tells what is wrong on this machine and how to mend it.")

  @Option(name: [.customShort("o"), .long], help: "How to print: table, json or yaml.")
  var output = OutputFormat.table
  @Option(help: "The data directory; without one, its checks are left out.") var dataDir: String?

  func run() async throws {
    var findings = Doctor.machine()
    if let dataDir { findings += Doctor.directory(dataDir) }
    findings.append(await Self.server())
    let report = Report(findings: findings)
    let text =
      switch output {
      case .table:
        Output.table(
          findings,
          [
            Column("CHECK") { $0.check }, Column("STATE") { $0.isGood ? "ok" : "WRONG" },
            Column("FOUND") { $0.found ?? "" }, Column("WHAT TO DO") { $0.hint ?? "" },
          ])
      case .json: try Output.json(try APICoding.encode(report))
      case .yaml: try Output.yaml(try APICoding.encode(report))
      }
    print(text, terminator: "")
    if findings.contains(where: { !$0.isGood }) { throw ExitCode(ExitStatus.failure) }
  }

  private struct Report: Codable {
    var findings: [API.DoctorFinding]
  }

  private static func server() async -> API.DoctorFinding {
    do {
      let location = try ServerLocator(environment: ProcessInfo.processInfo.environment).locate()
      let client = APIClient(
        server: location.host, key: location.key, transport: try location.transport())
      let isReady = try await client.isReady()
      return API.DoctorFinding(
        check: "API answers", isGood: isReady, found: location.host,
        hint: isReady ? nil : "its metadata database does not answer; read the log of serve")
    } catch let error as APIClientError {
      return API.DoctorFinding(
        check: "API answers", isGood: false, found: error.message, hint: error.hint)
    } catch {
      return API.DoctorFinding(
        check: "API answers", isGood: false, found: "\(error)",
        hint: "start it: exzo serve --data-dir DIR; or set EXZO_API_HOST")
    }
  }
}
