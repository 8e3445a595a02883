import Foundation
import PostgresProxy
import TestSupport
import Testing

/// Select-only pgbench over TLS through the proxy and through PgBouncer, turn about.
@Suite(
  .backend, .serialized,
  .enabled(if: ProcessInfo.processInfo.environment["EXZO_BENCH"] != nil, "set EXZO_BENCH=1"))
struct ProxySpeedTests {
  @Test func selectOnlyOverTLSReachesPgBouncer() async throws {
    try await withProxy { proxy in
      try await command(
        ["pgbench", "-i", "-q", "-s", "10", proxy.conninfo()],
        environment: proxy.environment)
      let bouncer = try await Bouncer(proxy)
      var ours: [Double] = []
      var theirs: [Double] = []
      for _ in 0..<5 {
        ours.append(try await rate(proxy.conninfo(), proxy))
        theirs.append(try await rate(bouncer.conninfo, proxy))
      }
      try await bouncer.stop()
      let ratio = ours.sorted()[2] / theirs.sorted()[2]
      print("proxy \(ours) tps\nPgBouncer \(theirs) tps\nratio of medians \(ratio)")
      #expect(ratio >= 0.95)
    }
  }

  private func rate(_ conninfo: String, _ proxy: RunningProxy) async throws -> Double {
    let report = try await command(
      ["pgbench", "-S", "-c", "8", "-j", "2", "-T", "5", "-n", conninfo],
      environment: proxy.environment)
    let line = try #require(report.output.split(separator: "\n").first { $0.hasPrefix("tps = ") })
    return try #require(line.split(separator: " ").dropFirst(2).first.flatMap { Double($0) })
  }
}

/// PgBouncer before the same server, with the proxy's own certificate.
private struct Bouncer {
  let conninfo: String
  private let pidFile: String

  init(_ proxy: RunningProxy) async throws {
    let path = "\(proxy.backend.server.directory)/bouncer"
    let port = 20_000 + Int(getpid()) % 10_000
    try run(["mkdir", "-p", path])
    for name in ["server.crt", "server.key"] {
      try run(["cp", "\(proxy.stateDirectory)/\(name)", path])
    }
    let verifier = proxy.backend.verifiers["app"] ?? ""
    try "\"app\" \"\(verifier)\"\n".write(
      toFile: "\(path)/users", atomically: false, encoding: .utf8)
    pidFile = "\(path)/pid"
    try """
    [databases]
    app = host=\(proxy.backend.server.directory) dbname=app
    [pgbouncer]
    listen_addr = 127.0.0.1
    listen_port = \(port)
    unix_socket_dir =
    auth_type = scram-sha-256
    auth_file = \(path)/users
    client_tls_sslmode = require
    client_tls_key_file = \(path)/server.key
    client_tls_cert_file = \(path)/server.crt
    pidfile = \(pidFile)
    logfile = \(path)/log
    """.write(toFile: "\(path)/ini", atomically: false, encoding: .utf8)
    if getuid() == 0 { try run(["chown", "-R", "postgres", path]) }
    // By `command`: started with signals blocked it could not be stopped.
    let user =
      getuid() == 0
      ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []
    try await command(user + ["pgbouncer", "-d", "\(path)/ini"])
    conninfo = "host=127.0.0.1 port=\(port) user=app dbname=app"
  }

  func stop() async throws {
    let pid = try String(contentsOfFile: pidFile, encoding: .utf8)
    try run(["kill", pid.trimmingCharacters(in: .whitespacesAndNewlines)])
  }
}
