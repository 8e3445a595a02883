import APITypes
import Catalog
import Foundation

/// A question about use in a span of time.
public struct ConsumptionQuery: Sendable {
  public var from: Date
  public var to: Date
  public var granularity: UsageGranularity
  /// Names of the route's metrics.
  public var metrics: [String]

  public init(from: Date, to: Date, granularity: UsageGranularity, metrics: [String] = []) {
    self.from = from
    self.to = to
    self.granularity = granularity
    self.metrics = metrics
  }
}

/// Histories of use, by account, project and branch.
///
/// Frames in which nothing was used or kept are left out.
public struct ConsumptionService: Sendable {
  let core: Core

  /// How far apart the ends of a question may lie.
  private static let longest: [UsageGranularity: TimeInterval] = [
    .hourly: 168 * 3600, .daily: 60 * 86_400, .monthly: 366 * 86_400,
  ]

  /// Rounds the ends outwards to whole frames.
  /// - Throws: ``ControlPlaneError`` `.timeRangeNotAcceptable`, naming what is.
  private func checked(_ query: ConsumptionQuery) throws -> ConsumptionQuery {
    guard query.from < query.to else {
      throw ControlPlaneError(
        .timeRangeNotAcceptable,
        "'from' is '\(RFC3339.text(query.from))', must be before 'to' "
          + "('\(RFC3339.text(query.to))')")
    }
    let longest = Self.longest[query.granularity] ?? 0
    guard query.to.timeIntervalSince(query.from) <= longest else {
      throw ControlPlaneError(
        .timeRangeNotAcceptable,
        "'from' and 'to' are more than \(Int(longest / 3600)) hours apart, which is the most for "
          + "granularity '\(query.granularity.rawValue)'",
        hint: "ask for less, or for a coarser granularity")
    }
    var query = query
    query.from = CalendarUTC.start(of: query.granularity, holding: query.from)
    query.to = CalendarUTC.ceiling(query.granularity, query.to)
    return query
  }

  public func account(
    _ query: ConsumptionQuery, of account: AccountRecord
  ) async throws -> API.AccountConsumption {
    let query = try checked(query)
    let metrics = try FrameMetrics(query.metrics)
    let frames = try await core.catalog.read { tx in
      let projects = try tx.meteredProjects(
        of: account.id, among: nil, since: query.from, after: nil, limit: Int(Int32.max))
      return try self.frames(of: projects.map(\.id), nil, query, tx)
    }
    return API.AccountConsumption(
      periods: periods(Self.merged(frames), query, account, metrics.frame))
  }

  /// - Parameters:
  ///   - ids: `nil` for all of the account's projects.
  ///   - after: the last project of the page before.
  public func projects(
    _ query: ConsumptionQuery, of account: AccountRecord, among ids: [ProjectID]?, after: String?,
    limit: Int
  ) async throws -> (API.ProjectConsumptionResponse<API.ConsumptionFrame>, next: PagePosition?) {
    let query = try checked(query)
    let metrics = try FrameMetrics(query.metrics)
    return try await projects(query, account, ids, after, limit, metrics.frame)
  }

  public func projectsV2(
    _ query: ConsumptionQuery, of account: AccountRecord, among ids: [ProjectID]?, after: String?,
    limit: Int
  ) async throws -> (API.ProjectConsumptionResponse<API.ConsumptionFrameV2>, next: PagePosition?) {
    let query = try checked(query)
    let metrics = try ConsumptionMetrics(query.metrics)
    return try await projects(query, account, ids, after, limit, metrics.frame)
  }

  private func projects<Frame: Codable & Hashable & Sendable>(
    _ query: ConsumptionQuery, _ account: AccountRecord, _ ids: [ProjectID]?, _ after: String?,
    _ limit: Int, _ show: @escaping @Sendable ([UsageFrame], Date) -> Frame
  ) async throws -> (API.ProjectConsumptionResponse<Frame>, next: PagePosition?) {
    let (found, frames) = try await core.catalog.read { tx in
      let found = try tx.meteredProjects(
        of: account.id, among: ids, since: query.from, after: after, limit: limit + 1)
      let page = found.prefix(limit).map(\.id)
      return (found, try self.frames(of: page, nil, query, tx))
    }
    let byProject = Dictionary(grouping: frames, by: \.projectID)
    let shown = found.prefix(limit).map { project in
      API.ProjectConsumptionHistory(
        projectID: project.id.rawValue,
        periods: periods(Self.merged(byProject[project.id] ?? []), query, account, show))
    }
    let next = found.count > limit ? shown.last.map(\.projectID) : nil
    return (
      API.ProjectConsumptionResponse(projects: shown),
      next.map { PagePosition(value: $0, id: $0) }
    )
  }

  public func branches(
    _ query: ConsumptionQuery, of account: AccountRecord, projects ids: [ProjectID],
    among branches: [BranchID]?, after: String?, limit: Int
  ) async throws -> (API.BranchConsumptionResponse, next: PagePosition?) {
    let query = try checked(query)
    let metrics = try ConsumptionMetrics(query.metrics)
    let (found, frames) = try await core.catalog.read { tx in
      let projects = try tx.meteredProjects(
        of: account.id, among: ids, since: query.from, after: nil, limit: ids.count
      ).map(\.id)
      let found = try tx.branchIDs(of: projects, among: branches, after: after, limit: limit + 1)
      let page = found.prefix(limit).map(\.branch)
      return (found, try self.frames(of: projects, page, query, tx))
    }
    let byBranch = Dictionary(grouping: frames, by: \.branchID)
    let shown = found.prefix(limit).map { project, branch in
      API.BranchConsumptionHistory(
        projectID: project.rawValue, branchID: branch.rawValue,
        periods: periods(Self.merged(byBranch[branch] ?? []), query, account, metrics.frame))
    }
    let next = found.count > limit ? shown.last.map(\.branchID) : nil
    return (
      API.BranchConsumptionResponse(branches: shown), next.map { PagePosition(value: $0, id: $0) }
    )
  }

  private func frames(
    of projects: [ProjectID], _ branches: [BranchID]?, _ query: ConsumptionQuery,
    _ tx: CatalogTransaction
  ) throws -> [UsageFrame] {
    guard !projects.isEmpty else { return [] }
    return try tx.usageFrames(
      of: projects, branches: branches, from: query.from, to: query.to, by: query.granularity)
  }

  /// All frames by their start, in order of time.
  private static func merged(_ frames: [UsageFrame]) -> [(start: Date, frames: [UsageFrame])] {
    Dictionary(grouping: frames, by: \.start).sorted { $0.key < $1.key }
      .map { (start: $0.key, frames: $0.value) }
  }

  private func periods<Frame: Codable & Hashable & Sendable>(
    _ frames: [(start: Date, frames: [UsageFrame])], _ query: ConsumptionQuery,
    _ account: AccountRecord, _ show: ([UsageFrame], Date) -> Frame
  ) -> [API.ConsumptionPeriod<Frame>] {
    let now = BillingPeriod(holding: core.clock.now)
    let byPeriod = Dictionary(grouping: frames) { BillingPeriod(holding: $0.start) }
    return byPeriod.sorted { $0.key.start < $1.key.start }.map { period, frames in
      API.ConsumptionPeriod(
        periodID: period.id(of: account.id), periodPlan: account.plan, periodStart: period.start,
        periodEnd: period == now ? nil : period.end,
        consumption: frames.map {
          show($0.frames, CalendarUTC.next(query.granularity, after: $0.start))
        })
    }
  }

  static func frame(_ frames: [UsageFrame], _ end: Date) -> API.ConsumptionFrame {
    let totals = frames.reduce(into: UsageTotals()) { $0 += $1.totals }
    return API.ConsumptionFrame(
      timeframeStart: frames[0].start, timeframeEnd: end, activeTimeSeconds: totals.activeSeconds,
      computeTimeSeconds: totals.computeSeconds, writtenDataBytes: totals.writtenBytes,
      syntheticStorageSizeBytes: totals.historyBytes ?? 0,
      dataStorageBytesHour: totals.historyByteHours, logicalSizeBytes: totals.logicalBytes,
      logicalSizeBytesHour: totals.logicalByteHours, dataTransferBytes: totals.transferBytes)
  }

  // MARK: the older route

  /// One row for each project and period that `[from, to)` touches; the running one by default.
  public func periods(
    of account: AccountRecord, from: Date?, to: Date?, after: String?, limit: Int
  ) async throws -> (API.ProjectsConsumptionResponse, next: PagePosition?) {
    let now = core.clock.now
    let range = try checked(
      ConsumptionQuery(
        from: from ?? now, to: to ?? max(now, from ?? now) + 1, granularity: .monthly))
    let (found, frames) = try await core.catalog.read { tx in
      let found = try tx.meteredProjects(
        of: account.id, among: nil, since: range.from, after: after, limit: limit + 1)
      return (found, try self.frames(of: found.prefix(limit).map(\.id), nil, range, tx))
    }
    let byProject = Dictionary(grouping: frames, by: \.projectID)
    var rows: [API.ProjectConsumption] = []
    var periodStarts: Set<Date> = []
    for project in found.prefix(limit) {
      var used = Self.merged(byProject[project.id] ?? [])
      // A project that used nothing has a row of zeros for the running period.
      if used.isEmpty, range.to > now { used = [(BillingPeriod(holding: now).start, [])] }
      for (start, frames) in used {
        periodStarts.insert(start)
        rows.append(row(project, account, start, frames))
      }
    }
    let next = found.count > limit ? found.prefix(limit).last?.id.rawValue : nil
    return (
      API.ProjectsConsumptionResponse(projects: rows, periodsInResponse: periodStarts.count),
      next.map { PagePosition(value: $0, id: $0) }
    )
  }

  private func row(
    _ project: ProjectRecord, _ account: AccountRecord, _ start: Date, _ frames: [UsageFrame]
  ) -> API.ProjectConsumption {
    let now = core.clock.now
    let period = BillingPeriod(holding: start)
    let totals = frames.reduce(into: UsageTotals()) { $0 += $1.totals }
    let hasPrevious = project.createdAt < period.start
    return API.ProjectConsumption(
      projectID: project.id.rawValue, periodID: period.id(of: account.id),
      dataStorageBytesHour: totals.historyByteHours, syntheticStorageSize: totals.historyBytes ?? 0,
      dataTransferBytes: totals.transferBytes, writtenDataBytes: totals.writtenBytes,
      computeTimeSeconds: totals.computeSeconds, activeTimeSeconds: totals.activeSeconds,
      updatedAt: min(now, period.end), periodStart: period.start,
      periodEnd: period.end <= now ? period.end : nil,
      previousPeriodID: hasPrevious ? period.previous.id(of: account.id) : nil)
  }
}

/// The metrics of the newer routes, by name.
public struct ConsumptionMetrics: Sendable {
  /// All that there are.
  public static var knownNames: [String] { known.map(\.name) }

  private let names: [String]

  private static let known:
    [(name: String, value: @Sendable ([UsageFrame], BillingPeriod) -> Int)] = [
      ("compute_unit_seconds", { frames, _ in sum(frames, \.computeMilliseconds) / 1000 }),
      ("active_time_seconds", { frames, _ in sum(frames, \.activeMilliseconds) / 1000 }),
      ("written_data_bytes", { frames, _ in sum(frames, \.writtenBytes) }),
      ("public_network_transfer_bytes", { frames, _ in sum(frames, \.transferBytes) }),
      ("private_network_transfer_bytes", { _, _ in 0 }),
      (
        "root_branch_bytes_month",
        { frames, period in sum(frames.filter(\.isRoot), \.branchByteHours) / period.hours }
      ),
      (
        "child_branch_bytes_month",
        { frames, period in sum(frames.filter { !$0.isRoot }, \.branchByteHours) / period.hours }
      ),
      (
        "instant_restore_bytes_month",
        { frames, period in sum(frames, \.restoreByteHours) / period.hours }
      ),
      ("dump_bytes_month", { frames, period in sum(frames, \.dumpByteHours) / period.hours }),
      ("logical_size_bytes_hour", { frames, _ in sum(frames, \.logicalByteHours) }),
      ("history_bytes_hour", { frames, _ in sum(frames, \.historyByteHours) }),
      ("dump_bytes_hour", { frames, _ in sum(frames, \.dumpByteHours) }),
    ]

  private static func sum(_ frames: [UsageFrame], _ path: KeyPath<UsageTotals, Int>) -> Int {
    frames.reduce(0) { $0 + $1.totals[keyPath: path] }
  }

  /// - Throws: ``ControlPlaneError`` naming the metrics that there are.
  init(_ names: [String]) throws {
    let all = Self.known.map(\.name)
    guard !names.isEmpty else {
      throw ControlPlaneError(
        .badValue, "'metrics' is required in the query", hint: all.joined(separator: ", "))
    }
    for name in names where !all.contains(name) {
      throw ControlPlaneError.value(
        "metrics", name, allowed: "one of \(all.joined(separator: ", "))")
    }
    self.names = names
  }

  @Sendable func frame(_ frames: [UsageFrame], _ end: Date) -> API.ConsumptionFrameV2 {
    let period = BillingPeriod(holding: frames[0].start)
    return API.ConsumptionFrameV2(
      timeframeStart: frames[0].start, timeframeEnd: end,
      metrics: names.compactMap { name in
        Self.known.first { $0.name == name }.map {
          API.ConsumptionMetric(metricName: name, value: $0.value(frames, period))
        }
      })
  }
}
