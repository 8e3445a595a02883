import ControlPlane
import TestSupport
import Testing

@testable import Dumps

/// A restore's caller may die at any time and call again.
extension RecoveryTests {
  private struct Killed: Error {}

  @Test func aTableThatWasCommittedComesBackOnceAndIsToldSo() async throws {
    try await with("DROP TABLE orders CASCADE") { scene, past in
      await #expect(throws: Killed.self) {
        try await scene.tools.recover(order("orders"), from: past, to: scene.compute) { _ in
          throw Killed()
        }
      }
      #expect(try scene.psql("SELECT count(*) FROM orders") == "500")
      #expect(try scene.restoreRoles == "1")
      let again = try await scene.recover(order("orders"), from: past)
      #expect(again.count == 1 && again[0].contains("interrupted"), "\(again)")
      #expect(try scene.psql("SELECT count(*) FROM orders") == "500")
      #expect(try scene.restoreRoles == "0")
      // Kept by the caller: there is nothing left to do.
      #expect(try await scene.recover(order("orders", isCommitted: true), from: past) == [])
      // What was there before is not taken for what an attempt brought.
      let error = await #expect(throws: DumpError.self) {
        _ = try await scene.recover(order("customers"), from: past)
      }
      #expect(error?.message.contains("is there already") == true)
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func aDumpThatWasCommittedIsRestoredOnceAndIsToldSo() async throws {
    try await Scene.with { scene in
      try scene.fill()
      _ = try await scene.make("d1")
      func order(_ database: String, isCommitted: Bool = false) -> RestoreOrder {
        var order = RestoreOrder(
          dump: "d1", project: "p", operation: "op1", database: database, tables: nil,
          owner: "reader")
        order.isCommitted = isCommitted
        return order
      }
      await #expect(throws: Killed.self) {
        try await scene.tools.restore(order("copy"), to: scene.compute) { outcome in
          // The dump's owner, not the one for dumps whose owner is gone.
          #expect(outcome.owner == "app")
          throw Killed()
        }
      }
      #expect(try scene.psql("SELECT count(*) FROM orders", "copy") == "500")
      try await scene.tools.restore(order("copy"), to: scene.compute) { outcome in
        #expect(outcome.owner == "app")
        #expect(outcome.notes.contains { $0.contains("interrupted") }, "\(outcome)")
      }
      #expect(try scene.psql("SELECT count(*) FROM orders", "copy") == "500")
      #expect(try scene.restoreRoles == "0")
      // An attempt that was cut off before it committed: its database is there, and empty.
      try scene.server.psql("CREATE DATABASE begun OWNER app; CREATE ROLE exzo_restore_op1 LOGIN")
      try await scene.tools.restore(order("begun"), to: scene.compute) { outcome in
        #expect(!outcome.notes.contains { $0.contains("interrupted") }, "\(outcome)")
      }
      #expect(try scene.psql("SELECT count(*) FROM orders", "begun") == "500")
      #expect(try scene.restoreRoles == "0")
      // A role's mark does not count where its database is gone.
      await #expect(throws: Killed.self) {
        try await scene.tools.restore(order("gone"), to: scene.compute) { _ in throw Killed() }
      }
      try scene.server.psql("DROP DATABASE gone")
      try await scene.tools.restore(order("gone"), to: scene.compute) { _ in }
      #expect(try scene.psql("SELECT count(*) FROM orders", "gone") == "500")
      #expect(try scene.restoreRoles == "0")
    }
  }
}
