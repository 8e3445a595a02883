import Catalog
import Foundation
import Synchronization

/// Bytes sent to clients, between the proxy that counts them and the catalog that keeps them.
///
/// A batch keeps its number and its content until it is known to be written; the catalog takes each
/// number of a writer once. So an answer that was lost makes nothing count twice.
final class TransferBatches: Sendable {
  struct Batch: Sendable {
    var sequence: Int
    var increments: [TransferIncrement]
    var date: Date
  }

  private struct Key: Hashable {
    var endpoint: EndpointID
    var branch: BranchID?
    var kind: String
  }

  private struct State {
    var counted: [Key: Int] = [:]
    var pending: Batch?
    var sequence = 0
  }

  /// Names this process among those that write batches.
  let writer: String
  private let state = Mutex(State())

  init(writer: String) { self.writer = writer }

  func add(_ bytes: Int, endpoint: EndpointID, kind: String) {
    add(bytes, Key(endpoint: endpoint, kind: kind))
  }

  /// Of a branch that no endpoint serves.
  func add(_ bytes: Int, branch: BranchID, kind: String) {
    add(bytes, Key(endpoint: EndpointID(""), branch: branch, kind: kind))
  }

  private func add(_ bytes: Int, _ key: Key) {
    guard bytes > 0 else { return }
    state.withLock { $0.counted[key, default: 0] += bytes }
  }

  /// The batch to write next: the last one again where it is not known to be written.
  func take(at date: Date) -> Batch? {
    state.withLock { state in
      if let pending = state.pending { return pending }
      guard !state.counted.isEmpty else { return nil }
      state.sequence += 1
      let increments = state.counted.map {
        TransferIncrement(
          endpoint: $0.key.endpoint, branch: $0.key.branch, kind: $0.key.kind, bytes: $0.value)
      }.sorted {
        ($0.endpoint.rawValue, $0.branch?.rawValue ?? "", $0.kind)
          < ($1.endpoint.rawValue, $1.branch?.rawValue ?? "", $1.kind)
      }
      let batch = Batch(sequence: state.sequence, increments: increments, date: date)
      state.counted = [:]
      state.pending = batch
      return batch
    }
  }

  func written(_ batch: Batch) {
    state.withLock { state in
      if state.pending?.sequence == batch.sequence { state.pending = nil }
    }
  }
}
