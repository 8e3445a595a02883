import Foundation
import TestSupport
import Testing

/// What a tenant tries on the host, on the platform and on others: a list that only grows.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct EscapeTests {
  private struct Tenant {
    let platform: Platform
    let project: String
    let branch: String
    let endpoint: String
    let uri: String

    init(_ platform: Platform, _ name: String) async throws {
      self.platform = platform
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"\#(name)"}}"#)
      project = created.string("project.id")
      branch = created.string("branch.id")
      endpoint = created.string("endpoints.0.id")
      uri = created.string("connection_uris.0.connection_uri")
      try await platform.settle(project)
    }

    /// With another user, password, database or endpoint.
    func uri(
      user: String? = nil, password: String? = nil, database: String? = nil, options: String? = nil
    ) -> String {
      var parts = URLComponents(string: uri)!
      if let user { parts.user = user }
      if let password { parts.password = password }
      if let database { parts.path = "/\(database)" }
      if let options {
        parts.queryItems = parts.queryItems?.map {
          $0.name == "options" ? URLQueryItem(name: "options", value: options) : $0
        }
      }
      return parts.string!
    }
  }

  /// Each on its own; all must be refused.
  private static func attempts(_ marker: String) -> [String] {
    host(marker) + roles + server
  }

  private static func host(_ marker: String) -> [String] {
    [
      "COPY (SELECT 1) TO PROGRAM 'touch \(marker)'", "COPY t FROM PROGRAM 'touch \(marker)'",
      "COPY (SELECT 1) TO '\(marker)'", "COPY t FROM '/etc/passwd'",
      "SELECT pg_read_file('/etc/passwd')", "SELECT pg_read_file('postgresql.conf')",
      "SELECT pg_read_binary_file('global/pg_control')", "SELECT pg_stat_file('.')",
      "SELECT pg_ls_dir('.')", "SELECT pg_ls_logdir()", "SELECT pg_ls_waldir()",
      "SELECT lo_import('/etc/passwd')", "SELECT lo_export(lo_create(0), '\(marker)')",
      "SELECT pg_file_write('\(marker)', 'x', false)", "CREATE EXTENSION adminpack",
      "CREATE EXTENSION file_fdw", "CREATE EXTENSION dblink", "CREATE EXTENSION postgres_fdw",
      "CREATE EXTENSION pageinspect", "CREATE EXTENSION plpython3u", "CREATE EXTENSION plperlu",
      "CREATE LANGUAGE c", "LOAD '/usr/lib/postgresql/15/lib/auth_delay.so'",
      "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/lib/x86_64-linux-gnu/libc.so.6', 'system'",
      "CREATE FUNCTION f(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'",
      "CREATE TABLESPACE s LOCATION '/tmp'", "SET dynamic_library_path = '/tmp'",
      "SET session_preload_libraries = 'auth_delay'",
    ]
  }

  private static let roles = [
    "SET ROLE exzo_superuser", "SET SESSION AUTHORIZATION exzo_superuser",
    "ALTER ROLE exzo_superuser PASSWORD 'x'", "ALTER ROLE exzo_superuser NOLOGIN",
    "ALTER ROLE CURRENT_USER SUPERUSER", "ALTER ROLE CURRENT_USER CREATEROLE",
    "ALTER ROLE CURRENT_USER REPLICATION", "ALTER ROLE CURRENT_USER BYPASSRLS",
    "CREATE ROLE helper", "CREATE ROLE helper SUPERUSER", "DROP ROLE exzo_superuser",
    "GRANT exzo_superuser TO CURRENT_USER", "GRANT pg_execute_server_program TO CURRENT_USER",
    "GRANT pg_read_server_files TO CURRENT_USER", "GRANT pg_write_server_files TO CURRENT_USER",
    "GRANT pg_write_all_data TO CURRENT_USER", "REASSIGN OWNED BY exzo_superuser TO CURRENT_USER",
    "SELECT rolpassword FROM pg_authid", "SELECT passwd FROM pg_shadow",
    "UPDATE pg_authid SET rolsuper = true", "ALTER DATABASE postgres OWNER TO CURRENT_USER",
    "ALTER DATABASE template1 RENAME TO mine", "DROP DATABASE postgres",
    "ALTER ROLE ALL SET search_path = trap", "ALTER ROLE exzo_superuser SET search_path = trap",
    "ALTER FUNCTION pg_catalog.now() OWNER TO CURRENT_USER",
    "CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION trap.note()",
  ]

  private static let server = [
    "ALTER SYSTEM SET archive_command = 'touch /tmp/x'", "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()", "SELECT pg_switch_wal()", "SELECT pg_promote()", "CHECKPOINT",
    "SELECT pg_create_restore_point('x')", "SELECT pg_backup_start('x')",
    "SELECT pg_create_physical_replication_slot('mine')",
    "SELECT pg_create_logical_replication_slot('mine', 'test_decoding')",
    "SELECT pg_drop_replication_slot('exzo_capture')",
    "SELECT pg_replication_slot_advance('exzo_capture', '0/1')",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "CREATE SUBSCRIPTION s CONNECTION 'host=/tmp' PUBLICATION p",
    "SELECT 1 / count(*) FROM pg_stat_activity WHERE usename = 'exzo_superuser' "
      + "AND pg_terminate_backend(pid)",
    "SELECT 1 / (SELECT count(*) FROM pg_settings WHERE name = 'hba_file')", "SHOW hba_file",
    "SHOW data_directory", "SELECT * FROM pg_hba_file_rules", "SELECT * FROM pg_file_settings",
    "SELECT * FROM pg_config()", "SET synchronous_standby_names = ''", "SET fsync = off",
    "SET full_page_writes = on", "SET session_replication_role = replica",
    "SET log_statement = 'all'", "SET zero_damaged_pages = on", "SET ignore_system_indexes = on",
    "SET allow_system_table_mods = on",
  ]

  /// Answers to names that the platform's own sessions might look up in the tenant's database.
  private static let traps = """
    CREATE SCHEMA trap; CREATE TABLE trap.seen (who text, what text);
    GRANT USAGE ON SCHEMA trap TO PUBLIC; GRANT INSERT ON trap.seen TO PUBLIC;
    CREATE FUNCTION trap.note(what text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO trap.seen VALUES (current_user, what); RETURN true; END $$;
    CREATE FUNCTION trap.format(text, name, name) RETURNS text LANGUAGE sql
      AS $$ SELECT trap.note('format')::text $$;
    CREATE FUNCTION trap.quote_ident(text) RETURNS text LANGUAGE sql
      AS $$ SELECT trap.note('quote_ident')::text $$;
    CREATE FUNCTION trap.pg_get_expr(pg_node_tree, oid) RETURNS text LANGUAGE sql
      AS $$ SELECT trap.note('pg_get_expr')::text $$;
    CREATE FUNCTION trap.format_type(oid, int) RETURNS text LANGUAGE sql
      AS $$ SELECT trap.note('format_type')::text $$;
    CREATE FUNCTION trap.pg_get_constraintdef(oid) RETURNS text LANGUAGE sql
      AS $$ SELECT trap.note('pg_get_constraintdef')::text $$;
    CREATE FUNCTION trap.equal(name, text) RETURNS boolean LANGUAGE sql
      AS $$ SELECT trap.note('=') $$;
    CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.equal);
    CREATE FUNCTION trap.other(name, text) RETURNS boolean LANGUAGE sql
      AS $$ SELECT trap.note('<>') $$;
    CREATE OPERATOR trap.<> (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.other);
    CREATE VIEW trap.pg_class AS SELECT *, trap.note('pg_class') AS trap FROM pg_catalog.pg_class;
    CREATE VIEW trap.pg_database AS
      SELECT *, trap.note('pg_database') AS trap FROM pg_catalog.pg_database;
    GRANT SELECT ON ALL TABLES IN SCHEMA trap TO PUBLIC;
    """

  @Test func nothingOfTheHostOrThePlatformIsReached() async throws {
    try await withPlatform { platform in
      let tenant = try await Tenant(platform, "escaping")
      let marker = "\(platform.directory)/reached-\(UUID().uuidString)"
      try platform.psql(tenant.uri, "CREATE TABLE t (a text);" + Self.traps)
      for attempt in Self.attempts(marker) {
        let outcome = try platform.psql(tenant.uri, attempt, allowFailure: true)
        #expect(outcome.status != 0, "\(attempt): \(outcome.output)")
      }
      #expect(!FileManager.default.fileExists(atPath: marker))
      let slot = "SELECT active FROM pg_replication_slots WHERE slot_name = 'exzo_capture'"
      #expect(try platform.value(tenant.uri, slot) == "t")
    }
  }

  @Test func namesAndConnectionsReachNobodyElse() async throws {
    try await withPlatform { platform in
      let tenant = try await Tenant(platform, "one")
      let other = try await Tenant(platform, "two")
      try platform.psql(other.uri, "CREATE TABLE secret AS SELECT 42 AS n")
      for uri in [
        // The platform's role, without and with what a tenant knows; another's endpoint.
        tenant.uri(user: "exzo_superuser"), tenant.uri(user: "exzo_superuser", password: ""),
        tenant.uri(user: "postgres"), tenant.uri(user: "exzodb_owner' --"),
        tenant.uri(options: "endpoint=\(other.endpoint)"),
        tenant.uri(options: "endpoint=\(tenant.endpoint) endpoint=\(other.endpoint)"),
        tenant.uri(options: "endpoint=../\(other.endpoint)"),
        tenant.uri(options: "endpoint=\(other.branch) exzo_lsn:0/1500000"),
        // Names that look like connection strings.
        tenant.uri(database: "host=/tmp%20user=exzo_superuser"),
        tenant.uri(user: "x host=\(platform.directory)"), tenant.uri(database: "template0"),
        tenant.uri + "&replication=true", tenant.uri + "&replication=database",
      ] {
        let outcome = try platform.psql(uri, "SELECT n FROM secret", allowFailure: true)
        #expect(outcome.status != 0, "\(uri): \(outcome.output)")
      }
      // Startup options that only a superuser may give.
      for option in [
        "session_preload_libraries=auth_delay", "log_statement=all", "role=exzo_superuser",
      ] {
        let uri = tenant.uri(options: "endpoint=\(tenant.endpoint) -c \(option)")
        #expect(try platform.psql(uri, "SELECT 1", allowFailure: true).status != 0, "\(option)")
      }
    }
  }

  /// The database's owner says in which schemas names are looked up; sessions of the platform do not care.
  @Test func nothingOfATenantsRunsWithThePlatformsRights() async throws {
    try await withPlatform { platform in
      let tenant = try await Tenant(platform, "traps")
      let path = "/projects/\(tenant.project)/branches/\(tenant.branch)"
      try platform.psql(
        tenant.uri,
        "CREATE TABLE t (id int PRIMARY KEY, c text DEFAULT 'x', CHECK (id > 0));" + Self.traps
          + "ALTER DATABASE exzodb SET search_path = trap, pg_catalog, public;")
      for (method, place, body, status) in [
        ("GET", path + "/schema?db_name=exzodb", nil, 200),
        ("GET", path + "/schema?db_name=exzodb&format=json", nil, 200),
        ("POST", path + "/roles", #"{"role":{"name":"app"}}"#, 201),
        ("POST", path + "/databases", #"{"database":{"name":"d","owner_name":"app"}}"#, 201),
        ("POST", path + "/roles/app/reset_password", nil, 200),
        ("DELETE", path + "/databases/d", nil, 200), ("DELETE", path + "/roles/app", nil, 200),
        ("POST", "/projects/\(tenant.project)/endpoints/\(tenant.endpoint)/restart", nil, 200),
        ("POST", path + "/snapshot?name=s", nil, 200),
        (
          "POST", "/projects/\(tenant.project)/branches",
          #"{"branch":{"name":"twin","init_source":"schema-only"}}"#, 201
        ),
        (
          "POST", "/projects/\(tenant.project)/dumps",
          #"{"branches":["\#(tenant.branch)"],"databases":["exzodb"],"verify":true}"#, 201
        ),
      ] as [(String, String, String?, Int)] {
        let answer = try platform.call(method, place, body)
        #expect(answer.status == status, "\(method) \(place): \(answer.text)")
        try await platform.settle(tenant.project)
      }
      let seen = try platform.value(
        tenant.uri, "SELECT DISTINCT who || ' ' || what FROM trap.seen WHERE who <> 'exzodb_owner'")
      #expect(seen == "")
    }
  }
}
