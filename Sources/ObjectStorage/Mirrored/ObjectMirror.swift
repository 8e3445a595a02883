import DurableIO
import Foundation
import Synchronization

/// Keeps a second store equal to the first.
///
/// ## Purpose
/// A bucket that is lost, locked or emptied is not the end of the history in it.
///
/// ## State and invariants
/// 1. A pass lists both stores and copies what the second lacks; what it copied is complete as of the
///    pass's beginning once it returns without failures. Where objects were deleted from the first store before they
///    were copied, what took their place may not have been listed: the next pass copies that, and only then is the
///    copy complete as of this one's beginning.
/// 2. Objects are copied byte for byte, under the same names: sealed ones stay sealed, and no key is
///    needed.
/// 3. What others refer to is copied before them, by rank.
/// 4. An object that is gone from the first store is deleted from the second only after it has been
///    missed for ``Configuration/deletionDelay``, and none where of what both held within that time less than a
///    quarter is left (``MirrorLoss``): then somebody emptied the first, and the copy is what is left. Nor is any
///    while the copy lacks something that the first can give: it may be what took their place.
///
/// ## Crash
/// A pass begins with what the stores hold, so it goes on where it was cut off. A deletion's delay
/// begins anew. What is known of a loss is part of the ``Status``, which the caller keeps and gives to the next one.
///
/// ## Concurrency
/// One pass at a time; ``status`` from anywhere.
///
/// ## Not guarded here
/// Objects replaced by others of the same size: history and dumps replace none, and of keys it is noticed.
public final class ObjectMirror: Sendable {
  public struct Configuration: Sendable {
    public var deletionDelay: Duration
    /// Copies at once.
    public var width: Int
    /// Objects above this pass through a file of the scratch directory.
    public var largestInMemory: UInt64
    public var scratch: String
    /// What is copied first: lower ranks, then order of keys.
    public var rank: @Sendable (ObjectKey) -> Int

    public init(
      scratch: String, deletionDelay: Duration = .seconds(86_400), width: Int = 4,
      largestInMemory: UInt64 = 16 << 20, rank: @escaping @Sendable (ObjectKey) -> Int = { _ in 0 }
    ) {
      self.scratch = scratch
      self.deletionDelay = deletionDelay
      self.width = width
      self.largestInMemory = largestInMemory
      self.rank = rank
    }
  }

  let first: any ObjectStore
  let second: any ObjectStore
  let configuration: Configuration
  let fileSystem: any FileSystem
  let threads: BlockingThreads
  let scratch: IncomingDirectory
  /// Seconds since 1970.
  private let now: @Sendable () -> Double
  private let state = Mutex(State())

  private struct State {
    var status = Status()
    /// When an object of the second store was first missed in the first.
    var missedSince: [ObjectKey: Double] = [:]
    /// When the last pass began, where it left nothing.
    var lastWhole: Double?
    var loss = MirrorLoss()
  }

  static let listedMissing = 20

  /// - Parameter known: the last status of the mirror before this one, of which it takes what is known of losses.
  public init(
    from first: any ObjectStore, to second: any ObjectStore, configuration: Configuration,
    known: Status? = nil, fileSystem: any FileSystem,
    threads: BlockingThreads = BlockingThreads(count: 2),
    now: @escaping @Sendable () -> Double = { Date().timeIntervalSince1970 }
  ) throws {
    self.first = first
    self.second = second
    self.configuration = configuration
    self.fileSystem = fileSystem
    self.threads = threads
    self.now = now
    scratch = try IncomingDirectory(configuration.scratch, fileSystem: fileSystem)
    state.withLock {
      $0.loss = MirrorLoss(
        heldBytes: known?.heldBytes, heldAt: known?.heldAt, foundAt: known?.lossFoundAt)
      ObjectMirror.tell($0.loss, &$0.status)
    }
  }

  public var status: Status { state.withLock { $0.status } }

  /// Runs passes with pauses between them until the task is cancelled.
  /// - Parameter report: gets the status after each pass.
  public func run(
    every pause: Duration, report: @Sendable (Status) async -> Void
  ) async throws {
    while true {
      await report(try await pass())
      try await Task.sleep(for: pause)
    }
  }

  /// Copies what the second store lacks. A failure is part of the status; the next pass tries again.
  /// - Throws: `CancellationError` only.
  @discardableResult
  public func pass() async throws -> Status {
    let started = now()
    var status = self.status
    status.failure = nil
    do {
      try await pass(started, &status)
    } catch is CancellationError {
      throw CancellationError()
    } catch {
      status.failure = "\(error)"
      state.withLock { $0.lastWhole = nil }
    }
    status.lastPassEndedAt = now()
    state.withLock { $0.status = status }
    return status
  }

  private func pass(_ started: Double, _ status: inout Status) async throws {
    // The second store first: what is deleted meanwhile is then missed, not left behind.
    let there = try await listing(second)
    let here = try await listing(first)
    (status.objects, status.bytes) = (here.count, here.values.reduce(0, +))
    let gone = there.filter { here[$0.key] == nil }
    let goneBytes = gone.values.reduce(0, +)
    noteLoss(&status) {
      $0.judge(common: there.values.reduce(0, +) - goneBytes, gone: goneBytes, at: started)
    }
    let rest = try await copyMissing(here, there, &status)
    let left = rest.left
    status.missingObjects = left.count
    status.missingBytes = left.reduce(0) { $0 + (here[$1] ?? 0) }
    status.missing = left.prefix(ObjectMirror.listedMissing).map(\.name)
    noteCompleteness(started, isWhole: left.isEmpty, hasVanished: !rest.vanished.isEmpty, &status)
    // The larger: what is cut short in the first store is held nevertheless.
    let absent = rest.vanished.union(left)
    let held: UInt64 = here.reduce(0) { sum, object in
      absent.contains(object.key) ? sum : sum + max(object.value, there[object.key] ?? 0)
    }
    let delay = configuration.deletionDelay / .seconds(1)
    noteLoss(&status) { $0.note(heldBytes: held, at: started, delay: delay) }
    // What the first store cannot give may lie there for good: it holds up nothing.
    let isComplete = rest.unreadable.isSuperset(of: left)
    try await delete(Array(gone.keys), of: there.count, isComplete: isComplete, &status)
  }

  /// Says as of when the copy is complete after a pass.
  /// - Parameters:
  ///   - isWhole: whether the pass left nothing that the first store has still.
  ///   - hasVanished: whether objects were gone when their turn came. What took their place is copied by the next
  ///     pass; what vanishes in that one is younger than this one's beginning.
  private func noteCompleteness(
    _ started: Double, isWhole: Bool, hasVanished: Bool, _ status: inout Status
  ) {
    let before = state.withLock { state -> Double? in
      let before = state.lastWhole
      state.lastWhole = isWhole ? started : nil
      return before
    }
    guard isWhole, let time = hasVanished ? before : started else { return }
    status.completeAsOf = time
  }

  /// What is known of losses, changed, and told by the status.
  private func noteLoss(_ status: inout Status, _ change: (inout MirrorLoss) -> Void) {
    let loss = state.withLock { state in
      change(&state.loss)
      return state.loss
    }
    ObjectMirror.tell(loss, &status)
  }

  private static func tell(_ loss: MirrorLoss, _ status: inout Status) {
    status.heldBytes = loss.heldBytes
    status.heldAt = loss.heldAt
    status.lossFoundAt = loss.foundAt
  }

  /// The first store is right, whatever it lost: from the next pass on the copy follows it again.
  public func acceptLoss() { state.withLock { $0.loss.accept() } }

  /// Copies what the second store lacks.
  private func copyMissing(
    _ here: [ObjectKey: UInt64], _ there: [ObjectKey: UInt64], _ status: inout Status
  ) async throws -> Rest {
    let changed = try await keysWereWrappedAgain(here, there)
    let rank = configuration.rank
    let candidates = here.filter {
      there[$0.key] != $0.value || (changed && ObjectMirror.isKey($0.key))
    }
    let damaged = try await damaged(candidates, there)
    let missing = candidates.filter { !damaged.contains($0.key) }
      .map { (rank: rank($0.key), key: $0.key, size: $0.value) }
      .sorted { ($0.rank, $0.key) < ($1.rank, $1.key) }
    var rest = Rest(left: missing.map(\.key))
    for group in Dictionary(grouping: missing, by: \.rank).sorted(by: { $0.key < $1.key }) {
      let outcome = try await copy(
        group.value.map { ObjectListing(key: $0.key, size: $0.size) }, &status)
      rest.vanished.formUnion(outcome.vanished)
      rest.unreadable.formUnion(outcome.unreadable)
      let settled = outcome.copied.union(outcome.vanished)
      rest.left.removeAll { settled.contains($0) }
      // What refers to objects that are not there yet is not copied before them. Those that the first store cannot
      // give are no better there.
      if settled.count + outcome.unreadable.count < group.value.count { break }
    }
    if let first = damaged.min(), status.failure == nil {
      status.failure =
        "\(damaged.count) objects of the first store are damaged, such as '\(first)': their copies are kept as they are"
    }
    return rest
  }

  /// Keys of an encrypted store, and those of the sealed catalog in a plain one.
  private static func isKey(_ key: ObjectKey) -> Bool {
    key.name.hasPrefix("exzo/") || key.name.hasPrefix("catalog/exzo/")
  }

  /// Whether the master key was rotated since the keys were copied: the one case in which objects
  /// are replaced, by others of the same size.
  private func keysWereWrappedAgain(
    _ here: [ObjectKey: UInt64], _ there: [ObjectKey: UInt64]
  ) async throws -> Bool {
    for names in [KeyRing.namesKey, ObjectKey("catalog/\(KeyRing.namesKey)")]
    where here[names] != nil && there[names] != nil {
      if try await first.get(names, range: nil) != second.get(names, range: nil) { return true }
    }
    return false
  }

  /// Objects of the first store that must not take the place of their copies, which are better.
  private func damaged(
    _ candidates: [ObjectKey: UInt64], _ there: [ObjectKey: UInt64]
  ) async throws -> Set<ObjectKey> {
    var found: Set<ObjectKey> = []
    for (key, size) in candidates {
      guard let copy = there[key] else { continue }
      if try await !mayReplace(key, size: size, copy: copy) { found.insert(key) }
    }
    return found
  }

  /// A key says itself whether it is whole, a sealed object how long it is; of others the longer one is no cut-off one.
  private func mayReplace(_ key: ObjectKey, size: UInt64, copy: UInt64) async throws -> Bool {
    if ObjectMirror.isKey(key) {
      return WrappedKey.isWhole(try await first.get(key, range: nil))
    }
    let head = try await first.slice(key, 0..<SealedObject.headerSize).bytes
    do {
      return SealedObject.sealedSize(try SealedHeader(head[...], key: key).plainSize) == size
    } catch let error as ObjectStorageError where error.code == .damaged {
      return size > copy
    }
  }

  private func listing(_ store: any ObjectStore) async throws -> [ObjectKey: UInt64] {
    var found: [ObjectKey: UInt64] = [:]
    try await store.listAll(prefix: "") { found[$0.key] = $0.size }
    return found
  }

  // MARK: Deletion

  /// - Parameter isComplete: whether the copy has all else that can be read: what took the place of the gone.
  private func delete(
    _ gone: [ObjectKey], of total: Int, isComplete: Bool, _ status: inout Status
  ) async throws {
    let time = now()
    let due = state.withLock { state -> [ObjectKey] in
      let known = state.missedSince
      state.missedSince = [:]
      for key in gone { state.missedSince[key] = known[key] ?? time }
      let delay = configuration.deletionDelay / .seconds(1)
      return gone.filter { time - (known[$0] ?? time) >= delay }
    }
    status.awaitingDeletion = gone.count
    guard status.lossFoundAt == nil else {
      status.failure =
        """
        mirror objects: \(gone.count) of the copy's \(total) objects are gone from the store, which has less than \
        a quarter, by bytes, of what it is known to have held; none is deleted
        HINT: if the store was emptied, use the copy in its place; if it is right, because you deleted a large \
        project or shortened its retention, or the copy had followed no deletions for long, 'exzo store \
        mirror-accept' lets the copy that serve makes follow it. 'exzo store mirror' needs no such word: it copies \
        all the same, and deletes nothing
        """
      return
    }
    guard !due.isEmpty, isComplete else { return }
    try await second.delete(due.sorted())
    status.awaitingDeletion -= due.count
  }
}
