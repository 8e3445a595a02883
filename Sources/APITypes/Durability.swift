extension API {
  /// What a commit of a project waits for.
  public enum Durability: String, WireEnumeration {
    /// The machine's own disk; a lost machine loses at most about a second.
    case local
    /// The object store; a lost machine loses nothing that was acknowledged.
    case objectStore = "object-store"
  }
}
