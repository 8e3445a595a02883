import Capture
import Foundation
import History
import PostgresClient

extension Agent {
  /// Keeps what the status tells of a source; ends a following that cannot go on.
  func watchFollowing(_ capture: WALCapture) {
    Task { [log] in
      for await event in capture.events {
        switch event {
        case .streaming:
          following?.trouble = nil
          following?.awaySince = nil
          log.info("capture", metadata: ["event": "\(event)"])
        case .disconnected(let error as SourceMoved):
          await endFollowing("\(error). HINT: \(SourceAdvice.anew)")
        case .disconnected(let error):
          log.warning("the source is away", metadata: ["error": "\(error)"])
          noteAway(SourceAdvice.text(of: error))
        case .serverEnded: noteAway("the server was shut down")
        case .failed(let error):
          log.critical("following has stopped for good", metadata: ["error": "\(error)"])
          // Another installation has the line now.
          if error.code == .lineRefused { finish() }
          await noteFailure(error)
        case .slotRecreated(let gap):
          log.warning("the slot was gone", metadata: ["gap": "\(gap.map { "\($0)" } ?? "none")"])
        default: log.info("capture", metadata: ["event": "\(event)"])
        }
      }
    }
  }

  private func noteAway(_ why: String) {
    guard following?.phase != .failed else { return }
    following?.trouble = why
    if following?.awaySince == nil { following?.awaySince = .now }
  }

  private func noteFailure(_ error: CaptureError) async {
    guard following?.phase != .failed, let following else { return }
    var text = SourceAdvice.text(of: error, following.source)
    if error.code == .gap { text += await dropUselessSlot(following) }
    self.following?.phase = .failed
    self.following?.failure = text
    if error.code != .lineRefused { await endStream() }
  }

  /// Stops what streams; what came is in the store as soon as that takes it.
  private func endFollowing(_ why: String) async {
    log.critical("following has stopped for good", metadata: ["error": "\(why)"])
    following?.phase = .failed
    following?.failure = why
    await endStream()
  }

  /// Nobody here can replay what the source's WAL has there, or nothing of it is whole any more from there on.
  func endFollowing(at found: SourceEnd) async {
    guard let following else { return }
    self.following?.end = found.end
    var name: String?
    if case .tablespace(let oid, _) = found.end.cause {
      name = await tablespaceName(oid, following)
    }
    let text = found.description(tablespace: name, following.source)
    await endFollowing(text)
    self.following?.failure = text + (await dropUselessSlot(following))
  }

  /// What the source calls it; `nil` where it is gone, or does not answer.
  private func tablespaceName(_ oid: UInt32, _ following: Following) async -> String? {
    var parameters = following.connection
    parameters.connectTimeout = 5
    let (source, connection) = (following.source, parameters)
    do {
      return try await withThread(named: "tablespace-name") {
        let session = try PostgresConnection(try source.pinned(connection))
        defer { session.close() }
        return try session.query(
          "SELECT spcname FROM pg_catalog.pg_tablespace WHERE oid = \(oid)"
        ).first?["spcname"]
      }
    } catch {
      log.notice("a tablespace's name is unknown", metadata: ["error": "\(error)"])
      return nil
    }
  }

  /// Half seconds in which a slot that is in use may become free.
  private static let slotPatience = 20

  /// The slot that was made in the place of a lost one protects nothing: it would only keep WAL on the source.
  private func dropUselessSlot(_ following: Following) async -> String {
    let (source, connection) = (following.source, following.connection)
    do {
      try await withThread(named: "drop-slot") {
        let slot = SourceSlot(source, connection)
        // The server notices late that the stream has ended.
        for _ in 0..<Self.slotPatience {
          do { return try slot.drop() } catch let error as PostgresError
            where error.sqlState == "55006"
          { usleep(500_000) }
        }
        try slot.drop()
      }
      return ""
    } catch {
      log.error("a slot is left on the source", metadata: ["error": "\(error)"])
      return ". Slot '\(source.slot)' may still be there and keep WAL: drop it"
    }
  }
}

/// The source's WAL holds what ends a following.
struct SourceEnd: Error {
  var end: FollowedEnd

  /// - Parameter tablespace: what the source calls the one that was made, where it is known.
  func description(tablespace: String?, _ source: SourceSpecification) -> String {
    let place = "on server '\(source.host):\(source.port)' at \(end.lsn)"
    switch end.cause {
    case .tablespace(let oid, let path):
      // It lies outside the data directory.
      return
        "tablespace '\(tablespace ?? "\(oid)")' was made in directory '\(path)' \(place): what lies outside the "
        + "data directory cannot be followed. History up to there stays. "
        + "HINT: move what is in it to pg_default and drop it there; then \(SourceAdvice.anew)"
    case .minimalWAL:
      return
        "wal_level became minimal \(place): what was loaded in bulk since then is not in the WAL. History up to there "
        + "stays. HINT: set wal_level = replica there and restart it; then \(SourceAdvice.anew)"
    }
  }
}

/// What is said of a source that cannot be followed, and what to do about it.
enum SourceAdvice {
  static let anew =
    "'exzo attach update --copy-anew' begins with a new copy, and keeps the history as a branch"
  private static let update = "'exzo attach update' tells how to connect from now on"

  /// - Parameter error: after which following goes on trying.
  static func text(of error: any Error) -> String {
    guard let error = error as? PostgresError else { return "\(error)" }
    switch error.sqlState {
    case "28P01", "28000", "42501": return "\(error.message). HINT: \(update)"
    case "55006":
      return "\(error.message). HINT: somebody else uses the slot; it is free when they are gone"
    default:
      // The server cannot be asked for a password by somebody who was refused before the session began.
      let refused = ["authentication failed", "no pg_hba.conf entry", "certificate"].contains {
        error.message.contains($0)
      }
      return refused ? "\(error.message). HINT: \(update)" : error.message
    }
  }

  /// - Parameter error: that ended it for good.
  static func text(of error: CaptureError, _ source: SourceSpecification) -> String {
    let place = "'\(source.host):\(source.port)'"
    switch error.code {
    case .gap:
      let gap = error.gap.map { "from \($0.lowerBound) to \($0.upperBound) " } ?? ""
      return
        "WAL \(gap)is gone from server \(place): slot '\(source.slot)' was dropped, or invalidated "
        + "because it kept too much (max_slot_wal_keep_size). History up to there stays. HINT: \(anew)"
    case .wrongServer:
      return "another server answers at \(place): \(error.detail). HINT: \(update)"
    case .serverBehind, .differsFromStore:
      return
        "server \(place) does not have the WAL that was followed (\(error)): it went back to a backup, "
        + "or a standby that lagged was promoted. History stays. HINT: \(anew)"
    case .damagedWAL:
      return
        "server \(place) sends WAL that does not go on from what was followed (\(error)): it went back to a "
        + "backup and has written since, or its WAL is damaged. History stays. HINT: \(anew)"
    default: return "\(error)"
    }
  }
}
