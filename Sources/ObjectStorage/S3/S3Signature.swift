import Crypto
import Glibc

/// Signature Version 4, as Amazon's "Signing and authenticating requests" describes it.
///
/// The body's SHA-256 is part of what is signed, so a server that checks signatures also refuses a
/// body that changed on the way.
struct S3Signature: Sendable {
  let credentials: S3Credentials
  let region: String

  /// The headers that a request is sent with: its own, `host`, the date, the body's hash, the
  /// authorization.
  ///
  /// - Parameter path: percent-encoded once.
  /// - Parameter time: seconds since 1970.
  func headers(
    of request: S3Request, host: String, path: String, time: Int
  ) -> [(name: String, value: String)] {
    let stamp = S3Signature.timestamp(time)
    let hash = hexadecimal(SHA256.hash(data: request.body))
    var headers = request.headers
    headers += [("host", host), ("x-amz-content-sha256", hash), ("x-amz-date", stamp)]
    if let token = credentials.sessionToken { headers.append(("x-amz-security-token", token)) }
    let signed = headers.filter {
      $0.name == "host" || $0.name == "content-md5" || $0.name.hasPrefix("x-amz-")
    }.sorted { $0.name < $1.name }
    let names = signed.map(\.name).joined(separator: ";")
    let canonical = [
      request.method.rawValue, path, request.encodedQuery,
      signed.map { "\($0.name):\($0.value)\n" }.joined(), names, hash,
    ].joined(separator: "\n")
    let day = String(stamp.prefix(8))
    let scope = "\(day)/\(region)/s3/aws4_request"
    let text =
      "AWS4-HMAC-SHA256\n\(stamp)\n\(scope)\n"
      + hexadecimal(SHA256.hash(data: Array(canonical.utf8)))
    headers.append(
      (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope), "
          + "SignedHeaders=\(names), Signature=\(signature(of: text, day: day))"
      ))
    return headers
  }

  private func signature(of text: String, day: String) -> String {
    func keyed(_ key: [UInt8], _ text: String) -> [UInt8] {
      Array(
        HMAC<SHA256>.authenticationCode(
          for: Array(text.utf8), using: SymmetricKey(data: key)))
    }
    var key = keyed(Array("AWS4\(credentials.secretAccessKey)".utf8), day)
    for part in [region, "s3", "aws4_request"] { key = keyed(key, part) }
    return hexadecimal(keyed(key, text))
  }

  /// `yyyymmddThhmmssZ` in UTC.
  static func timestamp(_ time: Int) -> String {
    var seconds = time_t(time)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(parts.tm_year + 1900)\(padded(parts.tm_mon + 1))\(padded(parts.tm_mday))T"
      + "\(padded(parts.tm_hour))\(padded(parts.tm_min))\(padded(parts.tm_sec))Z"
  }
}

/// Lower-case hexadecimal digits, two a byte.
func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
  return String(decoding: text, as: UTF8.self)
}
