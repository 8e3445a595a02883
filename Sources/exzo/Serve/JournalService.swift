import Catalog
import Compute
import Logging
import ServiceLifecycle

/// Keeps the catalog in the object store up to date; ends serve and its computes once another
/// installation has taken the store over.
struct JournalService: Service {
  let journal: CatalogJournal
  let fleet: AgentFleet
  let log: Logger

  func run() async throws {
    do {
      try await cancelWhenGracefulShutdown { try await journal.run() }
    } catch let error as CatalogError where error.code == .fenced {
      log.critical("fenced off", metadata: ["error": "\(error)"])
      await JournalService.endComputes(fleet, log)
      throw ServeError(error.message)
    }
    // What was written while the others ended is stored as well; it is in the database in any case.
    do { try await journal.publishRest() } catch {
      log.warning("the catalog's last changes are not stored yet", metadata: ["error": "\(error)"])
    }
  }

  /// Computes of an installation that is fenced off: what they hold stays on their volumes.
  static func endComputes(_ fleet: AgentFleet, _ log: Logger) async {
    do { try await fleet.suspendAll() } catch {
      log.warning(
        "computes of a fenced installation did not end cleanly", metadata: ["error": "\(error)"])
    }
  }
}
