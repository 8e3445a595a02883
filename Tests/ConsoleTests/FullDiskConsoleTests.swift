import Foundation
import TestSupport
import Testing

@testable import Catalog

/// What people see while the metadata database finds no room.
@Suite(.serialized, .heavy) struct FullDiskConsoleTests {
  /// Sessions were noted two minutes ago, and every change of one fails as PostgreSQL fails it on a full disk.
  private static let fill = """
    UPDATE exzo.console_sessions SET last_used_at = last_used_at - interval '2 minutes';
    CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
      RAISE 'could not extend file "base/1/2": No space left on device' USING ERRCODE = '53100';
    END$$;
    CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON exzo.console_sessions
      FOR EACH ROW EXECUTE FUNCTION public.no_room();
    """

  @Test func pagesAreShownAndSigningInSaysWhatIsWrong() async throws {
    try await ConsoleInstallation.with { console in
      let (cookie, _) = try console.signIn()
      try await console.plane.catalog.unjournaled("prepare the test") {
        _ = try $0.execute(Self.fill)
      }
      for path in ["/keys", "/projects", "/console/api/v2/projects"] {
        let shown = try console.send("GET", path, ["Cookie": cookie])
        #expect(shown.status == 200, "\(path): \(shown.text.prefix(400))")
      }
      let refused = try console.send(
        "POST", "/signin", ["Origin": console.origin], body: "key=\(console.key)")
      #expect(refused.status == 507 && refused.headers["set-cookie"] == nil)
      #expect(
        refused.text.contains("disk of the metadata database is full"),
        "\(refused.text.prefix(400))")
    }
  }
}
