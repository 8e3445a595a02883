import APITypes
import Catalog
import Foundation

/// Which schedules are taken, and what is said of the others.
struct ScheduleRules: Sendable {
  /// The kinds of backup that can be made here.
  let kinds: Set<API.BackupKind>

  /// Items of one branch's schedule.
  static let itemsLimit = 50
  private static let zones = TimeZoneNames()

  /// The rules of all items, in order.
  /// - Throws: ``ControlPlaneError`` naming the field, the value and what is allowed.
  func check(_ items: [API.BackupScheduleItem]) throws -> [ScheduleRule] {
    try Self.count(items.count)
    return try items.enumerated().map { try check($1, "schedule[\($0)].") }
  }

  static func count(_ items: Int) throws {
    guard items <= Self.itemsLimit else {
      throw ControlPlaneError.value(
        "schedule", "\(items) items", allowed: "up to \(Self.itemsLimit) items")
    }
  }

  /// - Parameter field: what stands before the names of the item's fields.
  func check(_ item: API.BackupScheduleItem, _ field: String) throws -> ScheduleRule {
    let frequency = item.frequency
    try Self.number(
      "\(field)hour", item.hour, API.BackupScheduleItem.hours, isUsed: frequency != .hourly,
      frequency)
    try Self.number(
      "\(field)day", item.day, API.BackupScheduleItem.days(frequency),
      isUsed: ![.hourly, .daily].contains(frequency), frequency)
    try Self.number(
      "\(field)month", item.month, API.BackupScheduleItem.months, isUsed: frequency == .yearly,
      frequency)
    let retention = API.BackupScheduleItem.retention
    if let seconds = item.retentionSeconds, !retention.contains(seconds) {
      throw ControlPlaneError.value(
        "\(field)retention_seconds", seconds,
        allowed: "\(retention.lowerBound) to \(retention.upperBound), or absent")
    }
    let kind = item.kind ?? .snapshot
    guard kinds.contains(kind) else {
      throw ControlPlaneError.unsupported(
        "\(field)kind",
        allowed: "use one of \(kinds.map(\.rawValue).sorted().joined(separator: ", "))")
    }
    return ScheduleRule(
      frequency: frequency, hour: item.hour ?? 0, day: item.day ?? 1, month: item.month ?? 1,
      timeZone: try Self.timeZone("\(field)time_zone", item.timeZone ?? "UTC"))
  }

  private static func number(
    _ field: String, _ value: Int?, _ range: ClosedRange<Int>, isUsed: Bool,
    _ frequency: API.BackupFrequency
  ) throws {
    guard let value else { return }
    guard isUsed else {
      throw ControlPlaneError.value(
        field, value, allowed: "absent where the frequency is '\(frequency.rawValue)'")
    }
    guard range.contains(value) else {
      throw ControlPlaneError.value(
        field, value, allowed: "\(range.lowerBound) to \(range.upperBound)")
    }
  }

  private static func timeZone(_ field: String, _ name: String) throws -> TimeZone {
    guard let zone = zones.zone(name) else {
      throw ControlPlaneError.value(
        field, name, allowed: "a name of the IANA time zone database, such as 'Europe/Berlin'")
    }
    return zone
  }
}

extension ScheduleItemRecord {
  /// - Throws: ``CatalogError`` where the row holds what this version does not know.
  func rule() throws -> ScheduleRule {
    guard let frequency = API.BackupFrequency(rawValue: frequency),
      let zone = TimeZone(identifier: timeZone)
    else {
      throw CatalogError(
        .undecodable, "read backup schedule '\(id)': '\(frequency)' in zone '\(timeZone)'")
    }
    return ScheduleRule(
      frequency: frequency, hour: hour ?? 0, day: day ?? 1, month: month ?? 1, timeZone: zone)
  }
}
