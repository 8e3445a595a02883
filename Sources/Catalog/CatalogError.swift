import PostgresClient

/// What went wrong between the catalog and its database.
public struct CatalogError: Error, Sendable, CustomStringConvertible {
  public enum Code: Sendable, Equatable {
    /// The database cannot be reached; a later attempt may succeed.
    case unavailable
    /// The database's disk is full: nothing can be changed until there is room; reading goes on.
    case diskFull
    /// A row with that key or name is there already.
    case duplicate
    /// The database was made by a later version of Exzo.
    case tooNew
    /// The database was made by an earlier version, and may not be migrated now.
    case tooOld
    /// A row that must be there is not.
    case missing
    /// A row cannot be read as what it should be.
    case undecodable
    /// A sealed value does not open: it was changed, or sealed with another key.
    case unsealable
    /// The embedded server could not be made, started or stopped.
    case server
    /// A value that the database cannot take, such as a page position that is not one.
    case badValue
    /// An object of the catalog in the object store is not what was written, or is missing.
    case damaged
    /// The object store holds no catalog.
    case noCatalog
    /// Another installation has taken the object store over.
    case fenced
    /// A change is made here, and is not in the object store yet.
    case unpublished
    /// A statement failed for a reason that is a defect of ours.
    case internalFailure
  }

  public var code: Code
  public var message: String
  /// The constraint that a duplicate broke, such as `branches_name`.
  public var constraint: String?

  public init(_ code: Code, _ message: String, constraint: String? = nil) {
    self.code = code
    self.message = message
    self.constraint = constraint
  }

  /// A failed statement, in the catalog's terms.
  init(_ error: PostgresError, doing action: String) {
    let text = "\(action): \(error)"
    switch (error.code, error.sqlState) {
    case (.server, "23505"):
      let quoted = error.message.split(separator: "\"")
      self.init(.duplicate, text, constraint: quoted.count > 1 ? String(quoted[1]) : nil)
    case (.connectFailed, _), (.connectionLost, _), (.poolExhausted, _), (.closed, _):
      self.init(.unavailable, text)
    case (.server, "53100"): self.init(.diskFull, text)
    case (.server, let state?)
    where ["40001", "40P01", "57P01", "57P03"].contains(state) || state.hasPrefix("53"):
      self.init(.unavailable, text)
    case (.server, let state?) where state.hasPrefix("22"): self.init(.badValue, text)
    case (.invalidArgument, _): self.init(.badValue, text)
    default: self.init(.internalFailure, text)
    }
  }

  public var description: String { message }
}
