import PostgresClient

extension RunningCompute {
  /// Lends `body` a session of the platform's superuser in one of the compute's databases.
  /// - Parameters:
  ///   - superuser: the platform's, where the compute has none of its own.
  ///   - options: command-line options of the session, beside ``ConnectionParameters/platformOptions``.
  public func onSession<Value: Sendable>(
    _ database: String = "postgres", application: String = "exzo-control",
    superuser platform: String = PostgresTenantConfigurator.superuser, options: String,
    _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    let pool = PostgresConnectionPool(
      ConnectionParameters(
        host: socketDirectory, port: port,
        user: superuser ?? platform, database: database,
        connectTimeout: 30, applicationName: application,
        options: "\(ConnectionParameters.platformOptions) \(options)"), size: 1, name: application)
    do {
      let value = try await pool.withConnection(body)
      await pool.close()
      return value
    } catch {
      await pool.close()
      throw error
    }
  }
}
