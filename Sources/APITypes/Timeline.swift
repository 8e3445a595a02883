import Foundation

extension API {
  /// A branch's restore window, drawn by time.
  public struct Timeline: Codable, Hashable, Sendable {
    /// What is shown: `[from, to)`.
    public var from: Date
    public var to: Date
    /// A bucket's length.
    public var bucketSeconds: Int
    /// Of the whole window.
    public var window: RestoreWindow
    /// Those in which something happened, ascending.
    public var buckets: [TimelineBucket]
    /// Newest first.
    public var events: [TimelineEvent]
    /// How many older events are not told.
    public var eventsLeftOut: Int
    public var keyframes: [TimelineMark]
    public var snapshots: [TimelineMark]
    /// Finished ones.
    public var dumps: [TimelineMark]
    public var children: [TimelineMark]
    public var restores: [TimelineMark]

    public init(
      from: Date, to: Date, bucketSeconds: Int, window: RestoreWindow, buckets: [TimelineBucket],
      events: [TimelineEvent], eventsLeftOut: Int, keyframes: [TimelineMark],
      snapshots: [TimelineMark], dumps: [TimelineMark], children: [TimelineMark],
      restores: [TimelineMark]
    ) {
      self.from = from
      self.to = to
      self.bucketSeconds = bucketSeconds
      self.window = window
      self.buckets = buckets
      self.events = events
      self.eventsLeftOut = eventsLeftOut
      self.keyframes = keyframes
      self.snapshots = snapshots
      self.dumps = dumps
      self.children = children
      self.restores = restores
    }

    enum CodingKeys: String, CodingKey {
      case from, to, window, buckets, events, keyframes, snapshots, dumps, children, restores
      case bucketSeconds = "bucket_seconds"
      case eventsLeftOut = "events_left_out"
    }
  }

  public struct TimelineResponse: Codable, Hashable, Sendable {
    public var timeline: Timeline
    public init(timeline: Timeline) { self.timeline = timeline }
  }

  /// What happened within a stretch of time.
  public struct TimelineBucket: Codable, Hashable, Sendable {
    public var start: Date
    /// About where its WAL begins.
    public var lsn: String
    public var commits: Int
    public var aborts: Int
    public var walBytes: Int
    public var rowsDeleted: Int
    /// Transactions that made, dropped or replaced relations' files.
    public var schemaChanges: Int
    /// Files that went.
    public var fileDrops: Int
    public var truncates: Int

    public init(start: Date, lsn: String) {
      self.start = start
      self.lsn = lsn
      commits = 0
      aborts = 0
      walBytes = 0
      rowsDeleted = 0
      schemaChanges = 0
      fileDrops = 0
      truncates = 0
    }

    enum CodingKeys: String, CodingKey {
      case start, lsn, commits, aborts, truncates
      case walBytes = "wal_bytes"
      case rowsDeleted = "rows_deleted"
      case schemaChanges = "schema_changes"
      case fileDrops = "file_drops"
    }
  }

  public enum TimelineEventKind: String, WireEnumeration {
    case drop
    /// Files that others took the place of: TRUNCATE, or a rewrite.
    case replace
    case create
    /// Many rows deleted.
    case delete
    case dropDatabase = "drop_database"
    case createDatabase = "create_database"
  }

  /// Something that one may want to go back before.
  public struct TimelineEvent: Codable, Hashable, Sendable {
    public var kind: TimelineEventKind
    /// The moment just before it; of kind `delete`, where looking for it begins.
    public var lsn: String
    public var timestamp: Date
    /// Which relation's rows went (`1663/5/16384`); kind `delete` only.
    public var relation: String?
    public var rows: Int?
    /// Relations' files concerned.
    public var files: Int
    /// Such as `DROP TABLE public.orders`; absent until somebody asked for it.
    public var title: String?

    public init(
      kind: TimelineEventKind, lsn: String, timestamp: Date, relation: String? = nil,
      rows: Int? = nil, files: Int, title: String? = nil
    ) {
      self.kind = kind
      self.lsn = lsn
      self.timestamp = timestamp
      self.relation = relation
      self.rows = rows
      self.files = files
      self.title = title
    }
  }

  /// An event whose objects were looked up at the moment before.
  public struct TimelineEventDetails: Codable, Hashable, Sendable {
    public struct Object: Codable, Hashable, Sendable {
      public var database: String
      public var schema: String
      public var name: String
      /// `table`, `index`, `materialized view`, `sequence`, `toast table`.
      public var type: String
      /// Rows at the moment before, where they were counted or estimated.
      public var rows: Int?

      public init(database: String, schema: String, name: String, type: String, rows: Int?) {
        self.database = database
        self.schema = schema
        self.name = name
        self.type = type
        self.rows = rows
      }
    }

    public var title: String
    /// The moment just before.
    public var lsn: String
    public var timestamp: Date
    public var objects: [Object]
    public var rowsDeleted: Int?
    /// Whether over half of the table's rows went.
    public var isMassDelete: Bool

    public init(
      title: String, lsn: String, timestamp: Date, objects: [Object], rowsDeleted: Int? = nil,
      isMassDelete: Bool = false
    ) {
      self.title = title
      self.lsn = lsn
      self.timestamp = timestamp
      self.objects = objects
      self.rowsDeleted = rowsDeleted
      self.isMassDelete = isMassDelete
    }

    enum CodingKeys: String, CodingKey {
      case title, lsn, timestamp, objects
      case rowsDeleted = "rows_deleted"
      case isMassDelete = "is_mass_delete"
    }
  }

  public struct TimelineEventResponse: Codable, Hashable, Sendable {
    public var event: TimelineEventDetails
    public init(event: TimelineEventDetails) { self.event = event }
  }

  /// A place on the timeline that has a name.
  public struct TimelineMark: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var lsn: String
    public var timestamp: Date

    public init(id: String, name: String, lsn: String, timestamp: Date) {
      self.id = id
      self.name = name
      self.lsn = lsn
      self.timestamp = timestamp
    }
  }

  /// A moment found, and what opening it would take.
  public struct MomentResponse: Codable, Hashable, Sendable {
    public var lsn: String
    public var timestamp: Date?
    /// WAL behind the nearest image, which opening reads.
    public var tailBytes: Int
    /// How long opening is expected to take.
    public var openingMilliseconds: Int

    public init(lsn: String, timestamp: Date?, tailBytes: Int, openingMilliseconds: Int) {
      self.lsn = lsn
      self.timestamp = timestamp
      self.tailBytes = tailBytes
      self.openingMilliseconds = openingMilliseconds
    }

    enum CodingKeys: String, CodingKey {
      case lsn, timestamp
      case tailBytes = "tail_bytes"
      case openingMilliseconds = "opening_milliseconds"
    }
  }
}
