import Catalog
import Foundation
import Logging
import PostgresClient
import TestSupport
import Testing

@testable import ControlPlane

@Suite(.serialized) struct TenantTests {
  @Test func rolesAndDatabasesArriveInARealServerAndTheVerifierIsPostgresOwn() async throws {
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(
        directory: directory,
        logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
      try await server.start()
      do {
        try await check(server.connectionParameters)
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  private func check(_ server: ConnectionParameters) async throws {
    let compute = RunningCompute(
      computeID: "c", lineID: "l", socketDirectory: server.host, port: server.port,
      startedAt: Date(), pid: 1)
    let tenants = PostgresTenantConfigurator(user: server.user)
    let verifier = SCRAMVerifierFactory.verifier(password: "s3cret pass", salt: Array(1...16))
    var wanted = TenantConfiguration(
      roles: [
        RoleRequest(name: "o'wner \"x\"", scramVerifier: verifier, login: true),
        RoleRequest(name: "group", scramVerifier: nil, login: false),
      ], databases: [DatabaseRequest(name: "my \"db\"; --", owner: "o'wner \"x\"")])
    for _ in 0..<2 {
      let contents = try await tenants.apply(wanted, to: compute)
      #expect(contents.databases == wanted.databases)
      #expect(contents.roles == wanted.roles.map(\.name))
    }
    let connection = try PostgresConnection(server)
    let stored = try connection.query(
      "SELECT rolpassword, rolsuper, rolcreaterole, rolcanlogin FROM pg_authid WHERE rolname = $1",
      parameters: [.text("o'wner \"x\"")])
    #expect(stored.first?[0] == verifier)
    #expect(stored.first?["rolsuper"] == "f")
    #expect(stored.first?["rolcreaterole"] == "f")

    // PostgreSQL's own verifier of a password, made again from its salt.
    try connection.query("CREATE ROLE oracle PASSWORD 's3cret pass'")
    let text = try #require(
      try connection.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'oracle'").first?[0])
    let salt = try #require(
      Data(base64Encoded: String(text.split(separator: "$")[1].split(separator: ":")[1])))
    #expect(SCRAMVerifierFactory.verifier(password: "s3cret pass", salt: Array(salt)) == text)

    // The past has its own owners, whoever owns what is there today; what came from a server
    // elsewhere is given to one who can log in.
    var past = wanted
    past.createsDatabases = false
    past.databases[0].owner = "group"
    #expect(try await tenants.apply(past, to: compute).databases == wanted.databases)
    past.adopter = "group"
    #expect(try await tenants.apply(past, to: compute).databases.map(\.owner) == ["group"])
    #expect(try await tenants.apply(wanted, to: compute).databases == wanted.databases)

    // What its owner made a template is a database like any other; what nobody can connect to is named.
    let name = try SQL.identifier(wanted.databases[0].name)
    try connection.query("ALTER DATABASE \(name) IS_TEMPLATE true ALLOW_CONNECTIONS false")
    for marked in [
      try await tenants.apply(wanted, to: compute), try await tenants.contents(of: compute),
    ] {
      #expect(marked.databases == wanted.databases)
      #expect(marked.closedDatabases == ["template0", wanted.databases[0].name])
    }
    let size = try connection.query(
      "SELECT pg_database_size($1::name)::text", parameters: [.text(wanted.databases[0].name)]
    ).first?[0]
    #expect(try await "\(tenants.logicalSize(of: compute))" == size)

    // Roles that own something stay, unable to log in; the superuser is nobody's to change.
    wanted.droppedRoles = ["o'wner \"x\"", "group"]
    wanted.roles = []
    var contents = try await tenants.apply(wanted, to: compute)
    #expect(contents.roles == ["o'wner \"x\"", "oracle"])
    wanted.droppedDatabases = wanted.databases.map(\.name)
    wanted.databases = []
    contents = try await tenants.apply(wanted, to: compute)
    #expect(contents.databases.isEmpty)
    wanted.roles = [
      RoleRequest(name: server.user, scramVerifier: verifier, login: true)
    ]
    let hijack = wanted
    await #expect(throws: PostgresError.self) { try await tenants.apply(hijack, to: compute) }
  }
}
