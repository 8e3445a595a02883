import Foundation
import Logging
import ObjectStorage
import Synchronization

/// Keeps the catalog in the object store up to date with the metadata database.
///
/// *Purpose*: a machine that is lost takes nothing of the catalog with it.
///
/// *State and invariants*: 1. What lies in the store is, up to each object, what some transactions of
/// the database have written, whole ones in an order that they could have had. 2. Changes name the
/// changes before them, so that a missing object is noticed. 3. A note of a change is deleted from the
/// database only after the change is stored. 4. A journal that has seen a higher owner writes nothing
/// more.
///
/// *Durability*: every write is stored within ``pause`` and the time of a put, while the store answers;
/// ``settle(timeout:)`` waits for it.
///
/// *Crash*: notes that were stored and not deleted are stored again: each says what the row is then.
///
/// *Concurrency*: ``run()`` once; the rest from anywhere.
///
/// *Not guarded here*: two installations are told apart within ``ownershipInterval``, not sooner.
public final class CatalogJournal: Sendable {
  /// How the copy in the store stands.
  public struct Status: Sendable {
    /// Seconds since 1970.
    public var publishedAt: Double?
    /// Age of the oldest write that may not be stored; `nil` where all is.
    public var exposure: Duration?
    /// Why the last attempt failed; `nil` after one that did not.
    public var failure: String?
    /// Objects of changes since the last base.
    public var changesSinceBase = 0
    public var baseBytes = 0
    public var objectsWritten = 0
  }

  struct State {
    var sequence: UInt64 = 0
    /// The last changes that were stored by anyone.
    var lastChanges: ObjectNumber
    var bytesSinceBase = 0
    var status = Status()
    var requested: UInt64 = 0
    var satisfied: UInt64 = 0
    var waiters: [(need: UInt64, continuation: CheckedContinuation<Void, Never>)] = []
    var ownershipSeen = ContinuousClock.now
    var fenced: CatalogError?
  }

  let catalog: Catalog
  let store: any ObjectStore
  let ownership: StoreOwnership
  let claim: InstallationClaim
  let secretKey: String?
  let logger: Logger
  /// Seconds since 1970.
  let now: @Sendable () -> Double
  let state: Mutex<State>

  /// How long writes are gathered before they are stored, where nobody waits for them.
  static let pause: Duration = .milliseconds(300)
  /// Pause after an attempt that failed.
  static let retryPause: Duration = .milliseconds(500)
  /// How old the last look at the owners may be when something is put.
  public static let ownershipInterval: Duration = .seconds(5)
  /// A base is due after this many objects of changes, or when they outweigh half of it.
  static let changesLimit = 256
  static let smallestBase = 512 << 10

  /// - Parameter secretKey: what passwords are sealed with, as digits; travels in each base.
  public init(
    catalog: Catalog, store: any ObjectStore, ownership: StoreOwnership, claim: InstallationClaim,
    secretKey: String?, logger: Logger,
    now: @escaping @Sendable () -> Double = { Date().timeIntervalSince1970 }
  ) async throws {
    self.catalog = catalog
    self.store = store
    self.ownership = ownership
    self.claim = claim
    self.secretKey = secretKey
    self.logger = logger
    self.now = now
    let last = try await JournalKeys.list(JournalKeys.changesPrefix, store).last?.number
    state = Mutex(State(lastChanges: last ?? .zero))
  }

  public var status: Status {
    var status = state.withLock { $0.status }
    status.exposure = catalog.activity.exposure
    return status
  }

  /// What is wrong with the copy in the store; reads all of it.
  public func problems() async throws -> [String] {
    do {
      return try await RecoveredCatalog.load(store).warnings
    } catch let error as CatalogError where error.code == .damaged || error.code == .noCatalog {
      return [error.message]
    }
  }

  /// Whether another installation has taken the store over, as the last look at its owners showed.
  public var isFenced: Bool { state.withLock { $0.fenced != nil } }

  /// Whether a write may not be in the object store.
  public var isBehind: Bool { !catalog.activity.isClean }

  /// Stores everything, as a start does; on return a recovery would bring back what is there now.
  public func publishAll() async throws {
    try await publish()
    try await writeBase()
  }

  /// Stores what is not stored yet; beside no ``run()``.
  public func publishRest() async throws { try await publish() }

  /// Publishes until the task is cancelled.
  /// - Throws: ``CatalogError`` `.fenced` once another installation has taken the store over.
  public func run() async throws {
    let bell = catalog.activity.bell()
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        // An idle catalog is looked at, and the owners with it, though nobody rings.
        while !Task.isCancelled {
          self.catalog.activity.ring()
          await PausedLoop(every: Self.ownershipInterval).rest()
        }
      }
      for await _ in bell {
        if Task.isCancelled || self.state.withLock({ $0.fenced != nil }) { break }
        await self.round()
      }
      group.cancelAll()
    }
    if let fenced = state.withLock({ $0.fenced }) { throw fenced }
  }

  private func round() async {
    if !state.withLock({ $0.requested > $0.satisfied }), !catalog.activity.isClean {
      await PausedLoop(every: Self.pause).rest()
    }
    do {
      try await publish()
      if isBaseDue { try await writeBase() }
    } catch is CancellationError {
      return
    } catch {
      note(error)
      await PausedLoop(every: Self.retryPause).rest()
      catalog.activity.ring()
    }
  }

  private func note(_ error: any Error) {
    let text = "\(error)"
    let isNew = state.withLock { state in
      defer { state.status.failure = text }
      if let error = error as? CatalogError, error.code == .fenced { state.fenced = error }
      return state.status.failure != text
    }
    guard isNew else { return }
    logger.error("the catalog is not in the object store", metadata: ["error": "\(text)"])
  }

  /// Waits until everything that was committed before the call is in the object store.
  /// - Throws: ``CatalogError`` `.unpublished` after `timeout`, `.fenced`.
  public func settle(timeout: Duration) async throws {
    if catalog.activity.isClean { return }
    let need = state.withLock { state in
      state.requested += 1
      return state.requested
    }
    catalog.activity.ring()
    let deadline = Task {
      try await Task.sleep(for: timeout)
      self.wake { $0 == need }
    }
    defer { deadline.cancel() }
    await withCheckedContinuation { continuation in
      let isDone = state.withLock { state in
        if state.satisfied >= need || state.fenced != nil { return true }
        state.waiters.append((need, continuation))
        return false
      }
      if isDone { continuation.resume() }
    }
    let (satisfied, fenced, failure) = state.withLock {
      ($0.satisfied, $0.fenced, $0.status.failure)
    }
    if satisfied >= need { return }
    if let fenced { throw fenced }
    throw CatalogError(
      .unpublished,
      "store the change in the object store: not done after \(timeout.components.seconds) s"
        + (failure.map { ": \($0)" } ?? ""))
  }

  /// Wakes whoever waits for what is stored.
  func wakeServed() {
    let satisfied = state.withLock { $0.satisfied }
    wake { $0 <= satisfied }
  }

  /// - Parameter isMeant: told of what each waiter needs, of which no two are alike.
  private func wake(_ isMeant: (UInt64) -> Bool) {
    let ready = state.withLock { state in
      let ready = state.waiters.filter { isMeant($0.need) }
      state.waiters.removeAll { isMeant($0.need) }
      return ready
    }
    for waiter in ready { waiter.continuation.resume() }
  }
}
