import ControlPlane
import PostgresClient

extension RunningCompute {
  /// Lends `body` a session of the platform's superuser in one of the compute's databases.
  /// - Parameter options: command-line options of the session.
  func onSession<Value: Sendable>(
    _ database: String, application: String, options: String,
    _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    let pool = PostgresConnectionPool(
      ConnectionParameters(
        host: socketDirectory, port: port,
        user: superuser ?? PostgresTenantConfigurator.superuser, database: database,
        applicationName: application, options: options), size: 1, name: application)
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
