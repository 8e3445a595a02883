import Glibc

/// Lets the two ends of the stream wait while the machine is busy.
///
/// PostgreSQL wakes its walsender at every flush. As an ordinary process it then interrupts the
/// backend that woke it, sends one small message, and so does the receiving thread; waiting for a
/// free moment, each takes many flushes at once. With weight 110 against a backend's 1,024
/// (setpriority(2), sched(7)) they still get what a saturating load needs of them several times over.
enum BatchScheduling {
  private static let niceness: Int32 = 10
  /// Linux' `SCHED_BATCH`: does not interrupt others when it wakes.
  private static let batch: Int32 = 3

  /// For the calling thread.
  static func enter() { apply(to: 0) }

  /// For a process or thread of the same user; does nothing where that is refused: it is only speed.
  static func apply(to id: pid_t) {
    var parameters = sched_param()
    _ = sched_setscheduler(id, batch, &parameters)
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(id), niceness)
  }
}
