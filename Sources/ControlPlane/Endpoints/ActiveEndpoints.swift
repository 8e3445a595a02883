import Catalog
import Synchronization

/// The endpoints that are active, read again only after something was written: several look every second, and most
/// of the time nothing has happened.
final class ActiveEndpoints: Sendable {
  private struct Known {
    var mark: UInt64
    var endpoints: [EndpointRecord]
  }

  private let known = Mutex<Known?>(nil)

  func all(_ catalog: Catalog) async throws -> [EndpointRecord] {
    let mark = catalog.activity.restingMark
    if let mark, let known = known.withLock({ $0 }), known.mark == mark { return known.endpoints }
    let endpoints = try await catalog.read { try $0.endpoints(in: .active) }
    if let mark { known.withLock { $0 = Known(mark: mark, endpoints: endpoints) } }
    return endpoints
  }
}
