import Foundation
import Testing

@testable import Catalog

/// What clients are told while the metadata database finds no room.
@Suite(.serialized) struct FullDiskAPITests {
  /// Every change and every new file fails as PostgreSQL fails them on a full disk (`53100`, `fd.c`, `md.c`).
  private static let fill = """
    UPDATE exzo.api_keys SET last_used_at = NULL;
    CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
      RAISE 'could not extend file "base/1/2": No space left on device' USING ERRCODE = '53100';
    END$$;
    CREATE FUNCTION public.no_file() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
      RAISE 'could not create file "base/1/3": No space left on device' USING ERRCODE = '53100';
    END$$;
    CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON exzo.api_keys
      FOR EACH ROW EXECUTE FUNCTION public.no_room();
    CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON exzo.projects
      FOR EACH ROW EXECUTE FUNCTION public.no_room();
    CREATE EVENT TRIGGER no_file ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS')
      EXECUTE FUNCTION public.no_file();
    """
  private static let makeRoom = """
    DROP EVENT TRIGGER no_file;
    DROP FUNCTION public.no_file();
    DROP FUNCTION public.no_room() CASCADE;
    """

  @Test func readingGoesOnWritesSayWhatIsWrongAndReadyzTells() async throws {
    try await APIInstallation.with { api in
      func sql(_ text: String) async throws {
        try await api.plane.catalog.unjournaled("prepare the test") { _ = try $0.execute(text) }
      }
      let (projects, body) = ("/api/v2/projects", #"{"project":{"name":"a"}}"#)
      try await sql(Self.fill)
      #expect(try await api.send("GET", projects).status == 200)
      let refused = try await api.send("POST", projects, body)
      #expect(refused.status == 507 && refused.code == "disk_full", "\(refused.text("message"))")
      #expect(refused.text("message").contains("disk of the metadata database is full"))
      for _ in 0..<2 {
        let ready = try await api.send("GET", "/readyz", key: "")
        #expect(ready.status == 503 && ready.code == "disk_full", "\(ready.text("message"))")
        #expect(ready.text("message").contains("HINT: make room"))
      }
      try await sql(Self.makeRoom)
      #expect(try await api.send("GET", "/readyz", key: "").status == 200)
      #expect(try await api.send("POST", projects, body).status == 201)
    }
  }
}
