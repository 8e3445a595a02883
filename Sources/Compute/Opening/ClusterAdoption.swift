import PostgresClient

/// Makes a cluster that came from elsewhere one that the platform administers, on a compute that was just opened.
///
/// Purpose: the role with OID 10 is a superuser for good (autovacuum works as it), so it becomes the platform's:
/// it takes the platform's name, and an ordinary role of its former name takes over what was made with it. All
/// other superusers become ordinary roles; nobody reads files or runs programs of this machine; event triggers,
/// which only superusers can make and which run as whoever changes a schema, are switched off.
///
/// A prepared transaction of the role with OID 10 is rolled back: nobody but the platform could end it. So is one that
/// holds what has to change its owner. Others stay.
///
/// Crash: each step is found done or is done again; a moment within an adoption can be opened like any other.
/// Not guarded here: functions in C and other languages that only superusers may write, where their library is
/// installed on this machine.
struct ClusterAdoption {
  let directory: LineDirectory
  /// The name of the role with OID 10 on the source.
  let formerName: String
  /// Today's roles of tenants; those that are not there are made, and may use what all roles own.
  let roles: [RoleCredential]

  /// Superuser of this machine's processes while the other's name changes.
  static let helper = "exzo_adopt"
  private static let platform = ServerAccess.superuser

  /// Blocks its thread.
  func run() throws {
    guard formerName != Self.platform else { return }
    if try isDone() { return }
    try beginIfNew()
    let session = try connection(Self.helper, "postgres")
    defer { session.close() }
    let databases = try session.query(Self.openDatabases).rows.compactMap { $0[0] }
    for database in databases { try rollBackPrepared(in: database) }
    try session.execute(Self.patience)
    try rename(session)
    try demote(session)
    for database in databases { try takeOver(database) }
    for role in roles { try admit(role, session) }
    session.close()
    let last = try connection(Self.platform, "postgres")
    defer { last.close() }
    try last.execute("DROP ROLE IF EXISTS \(Self.helper)")
  }

  /// Those that sessions come into: `datconnlimit` is -2 where a `DROP DATABASE` did not come to its end, and what is
  /// left of such a one is there only to be dropped.
  private static let openDatabases = """
    SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY oid
    """

  private func connection(_ user: String, _ database: String) throws -> PostgresConnection {
    try PostgresConnection(ServerAccess.parameters(directory, user: user, database: database))
  }

  /// Whether the platform's role is there and nothing is left to do.
  private func isDone() throws -> Bool {
    // Before the adoption there is no such role, and the server says only that it refuses.
    guard let session = try? connection(Self.platform, "postgres") else { return false }
    defer { session.close() }
    let row = try session.query(
      """
      SELECT 10 = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS is_ours,
        EXISTS (SELECT FROM pg_roles WHERE rolname = '\(Self.helper)') AS is_unfinished
      """
    ).first
    return try row?.value("is_ours", as: Bool.self) == true
      && row?.value("is_unfinished", as: Bool.self) == false
  }

  /// The helper, made by the bootstrap role; where the two have changed names already it is there.
  private func beginIfNew() throws {
    let session: PostgresConnection
    do {
      session = try connection(formerName, "postgres")
    } catch {
      // Renamed already: the helper goes on, or its failure to connect tells what is wrong.
      return
    }
    defer { session.close() }
    let isBootstrap = try session.query(
      "SELECT 10 = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS is_first"
    ).first?.value("is_first", as: Bool.self)
    guard isBootstrap == true else { return }
    try session.execute(
      """
      DO $$BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = '\(Self.platform)') THEN
          ALTER ROLE \(Self.platform) RENAME TO \(Self.platform)_of_source;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = '\(Self.helper)') THEN
          ALTER ROLE \(Self.helper) SUPERUSER LOGIN CONNECTION LIMIT -1;
        ELSE
          CREATE ROLE \(Self.helper) SUPERUSER LOGIN;
        END IF;
      END$$
      """)
  }

  private func rename(_ session: PostgresConnection) throws {
    let name = try SQL.identifier(formerName)
    let isRenamed =
      try session.query("SELECT FROM pg_roles WHERE oid = 10 AND rolname = '\(Self.platform)'")
      .rowCount > 0
    if !isRenamed {
      try session.execute(
        """
        BEGIN;
        ALTER ROLE \(name) RENAME TO \(Self.platform);
        ALTER ROLE \(Self.platform) LOGIN PASSWORD NULL CONNECTION LIMIT -1 VALID UNTIL 'infinity';
        ALTER ROLE \(Self.platform) RESET ALL;
        CREATE ROLE \(name) NOSUPERUSER NOLOGIN;
        COMMIT
        """)
    }
  }

  private func demote(_ session: PostgresConnection) throws {
    try session.execute(
      """
      DO $$DECLARE found record; BEGIN
        FOR found IN SELECT rolname FROM pg_roles WHERE (rolsuper OR rolreplication)
          AND rolname NOT IN ('\(Self.platform)', '\(Self.helper)')
        LOOP
          EXECUTE format('ALTER ROLE %I NOSUPERUSER NOREPLICATION', found.rolname);
        END LOOP;
        FOR found IN SELECT g.rolname AS granted, m.rolname AS member FROM pg_auth_members AS a
          JOIN pg_roles AS g ON g.oid = a.roleid JOIN pg_roles AS m ON m.oid = a.member
          WHERE g.rolname IN ('pg_execute_server_program', 'pg_read_server_files',
            'pg_write_server_files', '\(Self.platform)', '\(Self.helper)')
        LOOP
          EXECUTE format('REVOKE %I FROM %I', found.granted, found.member);
        END LOOP;
        FOR found IN SELECT datname FROM pg_database
          WHERE datdba = 10 AND datname NOT IN ('template0', 'template1', 'postgres')
        LOOP
          EXECUTE format('ALTER DATABASE %I OWNER TO %I', found.datname,
            \(try SQL.literal(formerName)));
        END LOOP;
      END$$
      """)
  }

  /// Hands what the bootstrap role made in a database to the ordinary role of its former name.
  private func takeOver(_ database: String) throws {
    let session = try connection(Self.helper, database)
    defer { session.close() }
    try session.execute(Self.patience)
    while true {
      do {
        return try handOver(session)
      } catch let error as PostgresError where error.sqlState == "55P03" {
        // A server's own worker ends some time; what was prepared in other ways than are looked for does not.
        if try isAnybodyHere(session) { continue }
        guard try rollBackPrepared("true", in: session) > 0 else { throw error }
      }
    }
  }

  /// A transaction that recovery brought back holds its locks for good.
  private static let patience = "SET lock_timeout = '20s'"

  private func isAnybodyHere(_ session: PostgresConnection) throws -> Bool {
    try session.query(
      """
      SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
      """
    ).rowCount > 0
  }

  /// Those of the role with OID 10, and those that have locked tables of its.
  private func rollBackPrepared(in database: String) throws {
    let session = try connection(Self.helper, database)
    defer { session.close() }
    try rollBackPrepared(
      """
      (owner = (SELECT rolname FROM pg_roles WHERE oid = 10) OR EXISTS (
        SELECT FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
        WHERE l.virtualtransaction = '-1/' || p.transaction::text AND c.relowner = 10
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND c.oid >= 16384))
      """, in: session)
  }

  /// - Returns: how many.
  @discardableResult
  private func rollBackPrepared(
    _ condition: String, in session: PostgresConnection
  ) throws -> Int {
    let found = try session.query(
      "SELECT gid FROM pg_prepared_xacts AS p WHERE database = current_database() AND \(condition)"
    ).rows.compactMap { $0[0] }
    for name in found {
      try session.execute("ROLLBACK PREPARED \(try SQL.literal(name))")
    }
    return found.count
  }

  private func handOver(_ session: PostgresConnection) throws {
    try session.execute(
      """
      DO $$DECLARE found record; BEGIN
        FOR found IN SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D' LOOP
          EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', found.evtname);
        END LOOP;
        FOR found IN \(Self.owned) LOOP
          EXECUTE format('ALTER %s %s OWNER TO %I', found.kind, found.identity,
            \(try SQL.literal(formerName)));
        END LOOP;
      END$$
      """)
  }

  /// Objects of users that belong to the bootstrap role, but for members of extensions, which stay with it.
  private static let owned = """
    SELECT CASE i.type WHEN 'statistics object' THEN 'STATISTICS'
        WHEN 'composite type' THEN 'TYPE' ELSE upper(i.type) END AS kind,
      i.identity
    FROM (
      SELECT 'pg_class'::regclass AS class, oid FROM pg_class AS c
        WHERE relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND relkind = 'S')
      UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE proowner = 10
      UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspowner = 10
      UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
        WHERE typowner = 10 AND typrelid = 0 AND typtype IN ('b', 'd', 'e', 'r')
          AND NOT (typelem <> 0 AND typcategory = 'A')
      UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprowner = 10
      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcowner = 10
      UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE opfowner = 10
      UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE collowner = 10
      UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion WHERE conowner = 10
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE dictowner = 10
      UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE cfgowner = 10
      UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language WHERE lanowner = 10
      UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server WHERE srvowner = 10
      UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxowner = 10
      UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
        WHERE lomowner = 10
    ) AS o, LATERAL pg_identify_object(o.class, o.oid, 0) AS i
    WHERE o.oid >= 16384
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = o.class AND d.objid = o.oid
        AND d.deptype = 'e')
    """

  /// A role of a tenant: it can log in, and use what the cluster's roles own.
  private func admit(_ role: RoleCredential, _ session: PostgresConnection) throws {
    let name = try SQL.identifier(role.name)
    let isThere =
      try session.query(
        "SELECT FROM pg_roles WHERE rolname = $1", parameters: [.text(role.name)]
      ).rowCount > 0
    if !isThere {
      try session.execute("CREATE ROLE \(name) NOSUPERUSER INHERIT CREATEDB NOLOGIN")
      try session.execute("GRANT pg_read_all_stats, pg_signal_backend TO \(name)")
    }
    let others = try session.query(
      """
      SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname <> $1
        AND NOT pg_has_role($1, oid, 'MEMBER') AND NOT pg_has_role(rolname, $1, 'MEMBER')
      """, parameters: [.text(role.name)]
    ).rows.compactMap { $0[0] }
    for other in others {
      try session.execute("GRANT \(try SQL.identifier(other)) TO \(name)")
    }
  }
}
