import PostgresFormat

/// Which timeline holds a position, by a server's timeline history file.
///
/// Source: `readTimeLineHistory` in `access/transam/timeline.c`.
struct TimelineHistory: Equatable {
  /// Ascending; each timeline holds the positions below its end and at or above the one before's.
  var ends: [TimelineEnd] = []

  /// - Parameter bytes: lines of `TLI <tab> LSN <tab> reason`, `#` for comments.
  init(bytes: [UInt8]) {
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      let fields = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
      guard fields.count >= 2, let number = UInt32(fields[0]), let lsn = LSN(String(fields[1]))
      else { continue }
      ends.append(TimelineEnd(timeline: TimelineID(number), lsn: lsn))
    }
  }

  /// The timeline that holds the byte at `lsn`; `latest` where none of the ended ones does.
  func timeline(at lsn: LSN, latest: TimelineID) -> TimelineID {
    ends.first { lsn < $0.lsn }?.timeline ?? latest
  }
}

/// Where a timeline ends.
struct TimelineEnd: Equatable {
  var timeline: TimelineID
  var lsn: LSN
}
