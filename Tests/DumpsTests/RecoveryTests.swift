import ControlPlane
import Foundation
import TestSupport
import Testing

@testable import Dumps

/// Tables and rows from a past that is a server of its own.
@Suite(.serialized, .heavy, .needsPostgres()) struct RecoveryTests {
  /// Runs `body` with the past as it was before `accident` happened to the live server.
  func with(
    _ accident: String, after more: String = "", prepare: (Scene) throws -> Void = { _ in },
    _ body: (Scene, RunningCompute) async throws -> Void
  ) async throws {
    try await Scene.with { scene in
      try scene.fill()
      try scene.psql(more)
      try prepare(scene)
      try await onThread { try scene.server.stop() }
      let copy = "\(scene.directory)/past"
      try StockServer.makeOwnedDirectory(copy)
      try run(["cp", "-a", scene.server.dataDirectory, "\(copy)/data"])
      let past = try StockServer(
        adopting: copy, settings: ["unix_socket_directories='\(copy)'"])
      try await onThread {
        try past.start()
        try scene.server.start()
      }
      try scene.psql(accident)
      let compute = RunningCompute(
        computeID: "past", lineID: "past", socketDirectory: copy, port: past.port,
        startedAt: Date(), pid: 0)
      try await body(scene, compute)
      try await onThread { try past.stop(mode: "immediate") }
    }
  }

  func order(
    _ table: String, as name: String? = nil, where condition: String? = nil,
    isCommitted: Bool = false, in database: String = Scene.database
  ) -> TableOrder {
    TableOrder(
      project: "p", operation: "op", database: database, table: table, newName: name,
      condition: condition, isCommitted: isCommitted)
  }

  @Test func aTableComesBackBesideTheOneThatIsThere() async throws {
    try await with("DELETE FROM items; DELETE FROM orders; DELETE FROM customers WHERE id = 7") {
      scene, past in
      let notes = try await scene.recover(
        order("public.orders", as: "orders_restored"), from: past)
      #expect(notes.first == "500 rows are in 'public.orders_restored'", "\(notes)")
      #expect(notes.contains { $0.contains("items_order_id_fkey") }, "\(notes)")
      // A customer is gone: the foreign key does not hold, and that is said.
      #expect(
        notes.contains { $0.contains("orders_customer_id_fkey") },
        "\(notes)")
      #expect(try scene.psql("SELECT count(*) FROM orders") == "0")
      #expect(
        try scene.psql(
          "SELECT count(*), max(id), sum(doubled) = 2 * sum(amount) FROM orders_restored")
          == "500|500|t")
      #expect(
        try scene.psql(
          "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'orders_restored'::regclass ORDER BY indexrelid::regclass::text COLLATE \"C\""
        ) == "orders_restored_customer\norders_restored_number\norders_restored_pkey")
      // Its own sequences go on from then.
      #expect(
        try scene.psql(
          "INSERT INTO orders_restored (customer_id, state) VALUES (1, 'open') RETURNING id, number"
        ) == "501|501")
      #expect(
        try scene.psql("SELECT tableowner FROM pg_tables WHERE tablename = 'orders_restored'")
          == "app")
      #expect(try scene.restoreRoles == "0")
      // Again: it is there.
      await #expect(throws: DumpError.self) {
        _ = try await scene.recover(
          order("orders", as: "orders_restored"), from: past)
      }
    }
  }

  @Test func aDroppedTableComesBackUnderItsOwnName() async throws {
    try await with("DROP TABLE orders CASCADE; DROP TABLE parts") { scene, past in
      let notes = try await scene.recover(order("orders"), from: past)
      #expect(!notes.contains { $0.contains("orders_customer_id_fkey") }, "\(notes)")
      #expect(try scene.psql("SELECT count(*) FROM orders") == "500")
      #expect(
        try scene.psql(
          "SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype IN ('f', 'c', 'p')"
        ) == "3")
      #expect(try scene.psql("SELECT count(*) FROM pg_trigger WHERE tgname = 'stamped'") == "1")
      _ = try await scene.recover(
        order("parts", as: "parts_then"), from: past)
      #expect(
        try scene.psql(
          "SELECT (SELECT count(*) FROM parts_then), (SELECT count(*) FROM parts_then_high)")
          == "300|201")
    }
  }

  @Test func rowsComeBackIntoTheTableOrBesideIt() async throws {
    try await with(
      "DELETE FROM orders WHERE customer_id = 3; UPDATE orders SET amount = 0 WHERE id = 1"
    ) {
      scene, past in
      let kept = try scene.psql("SELECT count(*) FROM orders")
      let notes = try await scene.recover(
        order("orders", where: "customer_id IN (2, 3) -- a comment"), from: past)
      #expect(notes.contains { $0.contains("10") && $0.contains("of 20 rows") }, "\(notes)")
      #expect(kept == "490")
      #expect(try scene.psql("SELECT count(*) FROM orders") == "500")
      // What is there stays as it is.
      #expect(try scene.psql("SELECT amount FROM orders WHERE id = 1") == "0")
      _ = try await scene.recover(
        order("orders", as: "some_rows", where: "id <= 5"), from: past)
      #expect(try scene.psql("SELECT count(*) FROM some_rows") == "5")
      for condition in ["nonsense", "true); DROP TABLE orders; --", "1 = pg_sleep(0)"] {
        await #expect(throws: (any Error).self) {
          _ = try await scene.recover(
            order("orders", as: "bad", where: condition), from: past)
        }
      }
      #expect(try scene.psql("SELECT count(*) FROM pg_class WHERE relname = 'bad'") == "0")
      await #expect(throws: DumpError.self) {
        _ = try await scene.recover(
          order("items", where: "true"), from: past)
      }
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func namesFullOfMarkupComeBack() async throws {
    try await with(#"DROP SCHEMA "odd schema" CASCADE"#) { scene, past in
      let name = #""odd schema"."a ""table"" <script>.x""#
      let notes = try await scene.recover(order(name), from: past)
      #expect(notes.contains { $0.contains("odd schema") }, "\(notes)")
      #expect(try scene.psql("SELECT count(*) FROM \(name)") == "1")
      #expect(
        try scene.psql(
          #"SELECT "col ""1""; DROP TABLE x" = E'tab\tline\nback\\slash \\. ü' FROM \#(name)"#)
          == "t")
      await #expect(throws: DumpError.self) {
        _ = try await scene.recover(order("nothing"), from: past)
      }
      await #expect(throws: DumpError.self) {
        _ = try await scene.recover(order("open_orders"), from: past)
      }
    }
  }
}
