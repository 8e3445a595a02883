import ControlPlane
import Synchronization

/// Counts of requests for `/metrics`, by route and status; no ids, no names.
final class RequestMetrics: Sendable {
  private struct Key: Hashable {
    var operation: String
    var status: Int
  }

  private struct State {
    var counts: [Key: Int] = [:]
    var buckets = [Int](repeating: 0, count: RequestMetrics.bounds.count)
    var seconds = 0.0
    var total = 0
  }

  /// Upper bounds of the duration histogram, in seconds.
  static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
  private let state = Mutex(State())

  func record(operation: String, status: Int, duration: Duration) {
    let seconds = duration / .seconds(1)
    state.withLock { state in
      state.counts[Key(operation: operation, status: status), default: 0] += 1
      for (index, bound) in Self.bounds.enumerated() where seconds <= bound {
        state.buckets[index] += 1
      }
      state.seconds += seconds
      state.total += 1
    }
  }

  /// Prometheus' text format, version 0.0.4.
  func text(gauges: [Gauge]) -> String {
    let state = state.withLock { $0 }
    var lines = ["# TYPE exzo_http_requests_total counter"]
    for (key, count) in state.counts.sorted(by: {
      ($0.key.operation, $0.key.status) < ($1.key.operation, $1.key.status)
    }) {
      lines.append(
        "exzo_http_requests_total{operation=\"\(key.operation)\",status=\"\(key.status)\"} \(count)"
      )
    }
    lines.append("# TYPE exzo_http_request_duration_seconds histogram")
    for (bound, count) in zip(Self.bounds, state.buckets) {
      lines.append("exzo_http_request_duration_seconds_bucket{le=\"\(bound)\"} \(count)")
    }
    lines += [
      "exzo_http_request_duration_seconds_bucket{le=\"+Inf\"} \(state.total)",
      "exzo_http_request_duration_seconds_sum \(state.seconds)",
      "exzo_http_request_duration_seconds_count \(state.total)",
    ]
    for gauge in gauges {
      lines.append("# TYPE \(gauge.name) \(gauge.isCounter ? "counter" : "gauge")")
      for (value, number) in gauge.values {
        let label = gauge.label.map { "{\($0)=\"\(value)\"}" } ?? ""
        lines.append("\(gauge.name)\(label) \(number)")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
