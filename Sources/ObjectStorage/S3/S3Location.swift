import Foundation

/// Which bucket, where, and how it is addressed.
public struct S3Location: Sendable, Equatable {
  /// How the bucket is named in requests.
  public enum Style: String, Sendable {
    /// `https://endpoint/bucket/key`
    case path
    /// `https://bucket.endpoint/key`
    case virtualHost = "virtual"
  }

  public var bucket: String
  /// Before every key, ending with `/`; or empty.
  public var prefix: String
  /// `http` or `https`.
  public var scheme: String
  /// Host and, where it is not the scheme's own, port.
  public var authority: String
  public var region: String
  public var style: Style
  /// PEM file with the authorities that are trusted instead of the system's.
  public var authoritiesFile: String?

  /// Reads `s3://bucket/prefix?endpoint=http://host:port&region=…&style=path|virtual&ca=FILE`.
  ///
  /// What the URL leaves out comes from `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION`,
  /// `AWS_DEFAULT_REGION` and `AWS_CA_BUNDLE`. Other parameters are passed over. Without an endpoint it
  /// is Amazon's of the region; path style is the default where the endpoint is an address, or has
  /// a port.
  /// - Throws: ``ObjectStorageError`` with code `.misconfigured`.
  public init(url: String, environment: [String: String]) throws {
    func refused(_ detail: String) -> ObjectStorageError {
      ObjectStorageError(
        .misconfigured, operation: "open object store", key: url, detail: detail,
        hint: "use s3://bucket/prefix?endpoint=https://host:port&region=REGION&style=path")
    }
    guard let parts = URLComponents(string: url), parts.scheme == "s3",
      let bucket = parts.host, S3Location.isBucket(bucket)
    else { throw refused("no bucket is named") }
    self.bucket = bucket
    let path = parts.path.split(separator: "/").joined(separator: "/")
    guard path.isEmpty || ObjectKey.isValid(path) else {
      throw refused("the prefix has other characters than letters, digits, '.', '_', '-'")
    }
    prefix = path.isEmpty ? "" : path + "/"
    var given: [String: String] = [:]
    for item in parts.queryItems ?? [] { given[item.name] = item.value }
    region =
      given["region"] ?? environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"]
      ?? "us-east-1"
    let endpoint =
      given["endpoint"] ?? environment["AWS_ENDPOINT_URL_S3"] ?? environment["AWS_ENDPOINT_URL"]
      ?? "https://s3.\(region).amazonaws.com"
    guard let server = URLComponents(string: endpoint), let host = server.host, !host.isEmpty,
      let scheme = server.scheme, ["http", "https"].contains(scheme),
      server.path.isEmpty || server.path == "/"
    else { throw refused("the endpoint '\(endpoint)' is not http(s)://host:port") }
    self.scheme = scheme
    authority = server.port.map { "\(host):\($0)" } ?? host
    authoritiesFile = given["ca"] ?? environment["AWS_CA_BUNDLE"]
    if let named = given["style"] {
      guard let style = Style(rawValue: named) else { throw refused("no style '\(named)'") }
      self.style = style
    } else {
      let isAddress = host.hasPrefix("[") || host.allSatisfy { $0.isNumber || $0 == "." }
      style = isAddress || server.port != nil || host == "localhost" ? .path : .virtualHost
    }
  }

  private static func isBucket(_ name: String) -> Bool {
    (3...63).contains(name.utf8.count)
      && name.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
          UInt8(ascii: "."), UInt8(ascii: "-"):
          true
        default: false
        }
      }
  }

  /// What the `Host` header says.
  var host: String { style == .path ? authority : "\(bucket).\(authority)" }

  /// The path of an object, or of the bucket where `name` is empty.
  func path(_ name: String) -> String { style == .path ? "/\(bucket)/\(name)" : "/\(name)" }
}

/// Who asks: an access key and its secret, never part of a URL.
public struct S3Credentials: Sendable {
  var accessKeyID: String
  var secretAccessKey: String
  var sessionToken: String?

  public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil) {
    self.accessKeyID = accessKeyID
    self.secretAccessKey = secretAccessKey
    self.sessionToken = sessionToken
  }

  /// From `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where it is set, `AWS_SESSION_TOKEN`.
  public init(environment: [String: String], url: String) throws {
    guard let id = environment["AWS_ACCESS_KEY_ID"], !id.isEmpty,
      let secret = environment["AWS_SECRET_ACCESS_KEY"], !secret.isEmpty
    else {
      throw ObjectStorageError(
        .misconfigured, operation: "open object store", key: url, detail: "no credentials",
        hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of exzo serve")
    }
    self.init(
      accessKeyID: id, secretAccessKey: secret, sessionToken: environment["AWS_SESSION_TOKEN"])
  }
}
