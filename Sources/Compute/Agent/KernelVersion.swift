import Glibc

/// The version of a Linux kernel, as far as it tells what a mount may rely on.
struct KernelVersion: Comparable, Sendable {
  let major: Int
  let minor: Int

  init(_ major: Int, _ minor: Int) { (self.major, self.minor) = (major, minor) }

  /// - Parameter release: as `uname -r` prints it, such as `6.18.44` or `6.1.0-25-amd64`; `nil` where it does not begin
  ///   with two numbers.
  init?(release: String) {
    let numbers = release.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
      .prefix(2).map { Int($0.prefix { $0.isASCII && $0.isNumber }) }
    guard numbers.count == 2, let major = numbers[0], let minor = numbers[1] else { return nil }
    self.init(major, minor)
  }

  /// The kernel that runs; `nil` where it does not tell.
  static let running: KernelVersion? = {
    var names = utsname()
    guard uname(&names) == 0 else { return nil }
    return withUnsafeBytes(of: &names.release) {
      KernelVersion(release: String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self))
    }
  }()

  static func < (one: KernelVersion, other: KernelVersion) -> Bool {
    (one.major, one.minor) < (other.major, other.minor)
  }
}
