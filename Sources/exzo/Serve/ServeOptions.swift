import ArgumentParser
import ControlPlane
import Foundation
import PostgresClient
import Yams

/// What `exzo serve` is told, after flags, environment and configuration file were laid over each
/// other.
struct ServeOptions: Sendable {
  var dataDirectory: String
  var http: SocketAddressOption
  var postgres: SocketAddressOption
  var domain: String?
  var tlsCertificate: String?
  var tlsKey: String?
  var objectStore: String
  /// Whether what is stored is sealed; `nil` leaves it to the store.
  var encryption: Bool?
  var masterKeyFile: String
  var masterKeyCommand: String?
  /// A second store that everything is copied to.
  var mirror: String?
  /// Bytes of disk for what is read from a bucket.
  var cacheSize: UInt64
  var metadataURL: String?
  var recoverFrom: String?
  /// Whether branches whose history is damaged come back closed, instead of none at all.
  var recoversDespiteDamage: Bool
  /// Allows HTTP and plain PostgreSQL beyond loopback.
  var allowPlainBeyondLoopback: Bool
  /// Of one account; 0 sets no limit.
  var requestsPerMinute: Int
  /// Whether history that nothing needs is deleted.
  var collectsHistory: Bool
  /// What computes are limited to their size in.
  var computeLimits: ComputeLimits
  var proofs: ProofSettings
  var alerts: AlertSettings
  /// Further names by which browsers reach the Console.
  var consoleHosts: [String] = []
  /// Where users help each other.
  var communityURL: String?
  /// Which addresses servers elsewhere may have that are attached.
  var attachNetworks: NetworkRules
  var clock: any WallClock = SystemWallClock()
}

/// What the sizes of computes limit, by control groups.
enum ComputeLimits: String, CaseIterable, Sendable {
  case off
  case memory
  /// Memory and processor time.
  case all
}

/// `host:port`; the host of an IPv6 address stands in brackets.
struct SocketAddressOption: Sendable, Equatable, CustomStringConvertible {
  var host: String
  var port: Int

  init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (0...65_535).contains(port)
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("[") && host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    guard !host.isEmpty else { return nil }
    self.host = host
    self.port = port
  }

  var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  var isLoopback: Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }
}

/// The three places a setting can come from: flag over environment over file.
struct LayeredSettings {
  private let environment: [String: String]
  private let file: [String: String]

  init(environment: [String: String], configurationFile path: String?) throws {
    self.environment = environment
    guard let path else {
      file = [:]
      return
    }
    let text: String
    do {
      text = try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw ValidationError("read the configuration file '\(path)': \(error.localizedDescription)")
    }
    guard let mapping = try Yams.load(yaml: text) as? [String: Any]? else {
      throw ValidationError("read the configuration file '\(path)': not a list of 'name: value'")
    }
    var values: [String: String] = [:]
    for (key, value) in mapping ?? [:] { values[key] = "\(value)" }
    file = values
    let unknown = Set(values.keys).subtracting(Self.names)
    guard unknown.isEmpty else {
      throw ValidationError(
        "read the configuration file '\(path)': unknown \(unknown.sorted().joined(separator: ", "));"
          + " known are \(Self.names.sorted().joined(separator: ", "))")
    }
  }

  static let names = ProofOptions.names.union([
    "data-dir", "http", "postgres", "domain", "tls-cert", "tls-key", "object-store",
    "metadata-url", "recover-from", "allow-plain", "requests-per-minute", "encryption",
    "master-key", "master-key-command", "mirror", "cache-size", "collect-history",
    "compute-limits", "recover-despite-damage", "console-hosts", "community-url",
    "attach-networks",
  ])

  func value(_ name: String, flag: String?) -> String? {
    let variable = "EXZO_" + name.uppercased().replacingOccurrences(of: "-", with: "_")
    return flag ?? environment[variable] ?? file[name]
  }

  func count(_ name: String, flag: Int?, standard: Int) throws -> Int {
    guard let text = value(name, flag: flag.map(String.init)) else { return standard }
    guard let count = Int(text), (0...1_000_000).contains(count) else {
      throw ValidationError("--\(name): '\(text)' is not a number from 0 to 1000000")
    }
    return count
  }

  /// The machine's clock, or one ahead of it: rehearses what the passing of time does to history.
  func clock() throws -> any WallClock {
    guard let text = environment["EXZO_CLOCK_AHEAD"] else { return SystemWallClock() }
    guard let seconds = Int(text), (0...3_200_000_000).contains(seconds) else {
      throw ValidationError("EXZO_CLOCK_AHEAD: '\(text)' is not a number of seconds")
    }
    return ClockAhead(seconds: TimeInterval(seconds))
  }

  /// One of a few words.
  func word<Word: CaseIterable & RawRepresentable>(
    _ name: String, flag: String?, standard: Word
  ) throws -> Word where Word.RawValue == String {
    guard let text = value(name, flag: flag) else { return standard }
    guard let word = Word(rawValue: text) else {
      let words = Word.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
      throw ValidationError("--\(name): '\(text)' is not one of \(words)")
    }
    return word
  }

  /// `on` or `off`.
  func onOrOff(_ name: String, flag: String?) throws -> Bool? {
    switch value(name, flag: flag) {
    case nil: return nil
    case "on": return true
    case "off": return false
    case .some(let other): throw ValidationError("--\(name): '\(other)' is not 'on' or 'off'")
    }
  }

  /// Bytes: a number, with K, M, G or T for its powers of 1024.
  func bytes(_ name: String, flag: String?, standard: UInt64) throws -> UInt64 {
    guard let text = value(name, flag: flag) else { return standard }
    let shifts: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40]
    let shift = text.last.flatMap { shifts[$0] }
    guard let number = UInt64(shift == nil ? text : String(text.dropLast())),
      number > 0, number < 1 << 24 || shift == nil
    else { throw ValidationError("--\(name): '\(text)' is not a size such as 10G") }
    return number << (shift ?? 0)
  }

  func address(_ name: String, flag: String?, standard: String) throws -> SocketAddressOption {
    let text = value(name, flag: flag) ?? standard
    guard let address = SocketAddressOption(text) else {
      throw ValidationError("--\(name): '\(text)' is not HOST:PORT with a port from 0 to 65535")
    }
    return address
  }
}

private struct ClockAhead: WallClock {
  var seconds: TimeInterval
  var now: Date { Date().addingTimeInterval(seconds) }
}
