import APITypes
import Catalog

/// Operations as callers see them.
public struct OperationService: Sendable {
  let core: Core

  public func get(
    _ id: OperationID, project: ProjectID, account: AccountID
  ) async throws -> API.Operation {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account, includesDeleted: true)
      guard let operation = try tx.operation(id, of: project.id) else {
        throw ControlPlaneError(
          .operationNotFound, "find operation '\(id)' in project '\(project.id)': there is none")
      }
      return Presenter(core: core).operation(operation)
    }
  }

  /// Newest first.
  public func list(
    project: ProjectID, account: AccountID, page: PageRequest
  ) async throws -> (operations: [API.Operation], next: PagePosition?) {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account, includesDeleted: true)
      let found = try tx.operations(of: project.id, page)
      return (found.elements.map(Presenter(core: core).operation), found.next)
    }
  }

  /// Returns when the operation has come to its end, however it did.
  /// - Throws: `CancellationError`.
  public func end(of id: OperationID) async throws -> API.Operation? {
    while true {
      let generation = core.ended.generation
      guard let operation = try await core.catalog.read({ try $0.operation(id) }) else {
        return nil
      }
      if operation.isFinal { return Presenter(core: core).operation(operation) }
      // Another process may run it, so the signal alone is not enough.
      await core.ended.wait(since: generation, timeout: .milliseconds(500))
      try Task.checkCancellation()
    }
  }
}
