import Glibc
import PostgresFormat

/// A page that could not be brought to its moment, or a worker that could not be started.
///
/// A page is never returned as right after any of these.
package struct PageRedoError: Error, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    /// No extension or no server for this major version.
    case notInstalled = "page_redo_not_installed"
    /// A worker's process did not come up.
    case workerStart = "page_redo_worker_start"
    /// The request is not fit for redo: a record that does not touch the page, is of another kind,
    /// or needs an image that was not given.
    case refused = "page_redo_refused"
    /// PostgreSQL's redo raised an error, on two workers.
    case redo = "page_redo_failed"
    /// Workers ended or were stopped at their time limit over this page, twice.
    case workerLost = "page_redo_worker_lost"
    /// A record is longer than redo takes.
    case recordLength = "page_redo_record_length"
    /// The pool was stopped.
    case stopped = "page_redo_stopped"
  }

  package var code: Code
  package var message: String
  package var hint: String
  /// The page, where the failure is one page's.
  package var target: PageTarget?
  /// Where the record at work begins, where there was one.
  package var recordLSN: LSN?

  package init(
    _ code: Code, _ message: String, hint: String = "", target: PageTarget? = nil,
    recordLSN: LSN? = nil
  ) {
    self.code = code
    self.message = message
    self.hint = hint
    self.target = target
    self.recordLSN = recordLSN
  }

  /// A failure of one page: `redo rel 1663/5/16384 blk 3, record at 0/1A2B3C: reason`.
  init(_ code: Code, page target: PageTarget, record: LSN?, reason: String) {
    let place = record.map { ", record at \($0)" } ?? ""
    self.init(code, "redo \(target)\(place): \(reason)", target: target, recordLSN: record)
  }

  package var description: String { hint.isEmpty ? message : "\(message)\nHINT: \(hint)" }
}

/// The meaning of `errno`.
func systemReason() -> String { String(cString: strerror(errno)) }
