import DurableIO
import Foundation
import History
import PostgresFormat
import Volume

/// The WAL of a moment, put into `pg_wal`.
extension MomentOpening {
  /// Writes the tail with page-only records as no-ops.
  ///
  /// One run is read while the one before it is rewritten and written.
  /// - Parameter image: the tree of the keyframe, without what stays behind.
  func rewriteTail(
    _ history: LineHistory, _ plan: OpeningPlan, _ image: FileTreeSnapshot
  ) async throws -> RewrittenTail.Outcome {
    let (start, writer) = tailWriter(plan)
    var state = TailState(
      writer: writer,
      tail: RewrittenTail(
        format: try postgresMajor(specification.major), redo: plan.redoLSN,
        segmentSize: plan.segmentSize, image: image, isForReading: specification.staysAtMoment))
    // Of the first segment the server reads its first page, for its header, and what follows the redo LSN.
    let page = UInt64(PostgresLayout.walBlockSize)
    let redoPage = LSN(plan.redoLSN.rawValue / page * page)
    for range in [start..<min(start + page, redoPage), redoPage..<plan.lsn] where !range.isEmpty {
      var runs = history.readWAL(from: range.lowerBound, to: range.upperBound).makeAsyncIterator()
      var next = try await runs.next()
      while let run = next {
        let former = state
        async let taken = take(run, former)
        next = try await runs.next()
        state = try await taken
        if let fallback = state.tail.fallback { return .replay(fallback) }
      }
    }
    return try await finish(state, plan)
  }

  /// What goes from run to run.
  private struct TailState: Sendable {
    var writer: TailWriter
    var tail: RewrittenTail
  }

  private func take(_ run: WALBytes, _ state: TailState) async throws -> TailState {
    try await environment.threads.run {
      var state = state
      var bytes = run.bytes
      let patches = try bytes.withUnsafeMutableBytes {
        try state.tail.append($0, at: run.startLSN)
      }
      state.writer.skip(to: run.startLSN)
      try bytes.withUnsafeBytes { try state.writer.append($0, at: run.startLSN) }
      for patch in patches { try state.writer.overwrite(patch.bytes, at: patch.lsn) }
      return state
    }
  }

  private func finish(
    _ state: TailState, _ plan: OpeningPlan
  ) async throws -> RewrittenTail.Outcome {
    let modified = plan.systemIdentifier >> 32
    return try await environment.threads.run { [directory, specification] in
      var writer = state.writer
      _ = try writer.finish(durable: false)
      try giveDirectory(directory.wal, to: specification.identity)
      return try state.tail.finish(
        target: plan.lsn, modified: Int64(modified) * 1_000_000_000)
    }
  }

  /// Writes and checks the WAL from the redo LSN's segment to the moment.
  func writeTail(
    _ history: LineHistory, _ plan: OpeningPlan, _ image: FileTreeSnapshot, major: PostgresMajor
  ) async throws -> TailCheck.Summary {
    var (start, writer) = tailWriter(plan)
    var check = TailCheck(
      format: major, redo: plan.redoLSN, segmentSize: plan.segmentSize, image: image)
    var locks: TailRewriter? =
      specification.staysAtMoment
      ? TailRewriter(
        format: major, redo: plan.redoLSN, segmentSize: plan.segmentSize, scope: .locks) : nil
    for try await run in history.readWAL(from: start, to: plan.lsn) {
      (writer, check, locks) = try await environment.threads.run { [writer, check, locks] in
        var (writer, check, locks) = (writer, check, locks)
        var bytes = run.bytes
        try bytes.withUnsafeBytes { try check.append($0, at: run.startLSN) }
        let patches =
          try bytes.withUnsafeMutableBytes { try locks?.append($0, at: run.startLSN) } ?? []
        try bytes.withUnsafeBytes { try writer.append($0, at: run.startLSN) }
        for patch in patches { try writer.overwrite(patch.bytes, at: patch.lsn) }
        return (writer, check, locks)
      }
    }
    return try await environment.threads.run { [writer, check, identity = specification.identity] in
      var writer = writer
      _ = try writer.finish(durable: false)
      try giveDirectory(directory.wal, to: identity)
      return try check.finish(target: plan.lsn)
    }
  }

  private func tailWriter(_ plan: OpeningPlan) -> (LSN, TailWriter) {
    let start = LSN(plan.redoLSN.rawValue / plan.segmentSize * plan.segmentSize)
    let writer = TailWriter(
      directory: directory.wal, timeline: plan.timeline, segmentSize: plan.segmentSize,
      systemIdentifier: plan.systemIdentifier, startLSN: start,
      fileSystem: environment.fileSystem)
    return (start, writer)
  }
}
