import Dispatch
import Synchronization
import Volume

/// A base view in whose place another one can be put while a volume reads it.
///
/// State: 1. a read goes through one view from beginning to end; 2. after ``move(to:)`` nobody reads the former
/// view. Both views must agree in every block that the volume has not written.
/// Concurrency: any thread; reads hold no lock while they read.
final class MovingBaseView: BaseView {
  /// As of the volume's opening, for ever.
  let tree: FileTreeSnapshot

  /// A view, and how many read it now.
  private final class Reading: Sendable {
    let view: any BaseView
    let state = Mutex((readers: 0, isRetired: false))
    let drained = DispatchSemaphore(value: 0)

    init(_ view: any BaseView) { self.view = view }

    func leave() {
      let isLast = state.withLock { state in
        state.readers -= 1
        return state.isRetired && state.readers == 0
      }
      if isLast { drained.signal() }
    }

    /// Blocks until nobody reads. Nobody may begin to.
    func drain() {
      let isBusy = state.withLock { state in
        state.isRetired = true
        return state.readers > 0
      }
      if isBusy { drained.wait() }
    }
  }

  private let current: Mutex<Reading>

  init(_ view: any BaseView) {
    tree = view.tree
    current = Mutex(Reading(view))
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let reading = current.withLock { reading in
      reading.state.withLock { $0.readers += 1 }
      return reading
    }
    defer { reading.leave() }
    try reading.view.read(file: file, startBlock: startBlock, count: count, into: buffer)
  }

  /// Lets all reads from now on go through another view, and waits for those that go through the former one.
  func move(to view: any BaseView) {
    let former = current.withLock { reading in
      defer { reading = Reading(view) }
      return reading
    }
    former.drain()
  }
}
