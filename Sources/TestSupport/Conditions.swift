import Foundation
import Testing

/// What a test needs of the machine. Where it is missing the test is skipped and says how to
/// satisfy
/// it; with `EXZO_TEST_ALL=1`, as CI sets it, the test runs and fails instead.
extension Trait where Self == ConditionTrait {
  public static func needsPostgres(_ major: Int = 15) -> Self {
    need(
      FileManager.default.isExecutableFile(atPath: StockServer.binaries(major: major) + "/initdb"),
      "needs PostgreSQL \(major): sudo apt-get install postgresql-\(major) (scripts/setup does it)")
  }

  public static var needsFUSE: Self {
    need(
      access("/dev/fuse", R_OK | W_OK) == 0,
      """
      needs /dev/fuse: sudo apt-get install fuse3 && sudo modprobe fuse; in a container, \
      --device /dev/fuse --cap-add SYS_ADMIN
      """)
  }

  public static var needsRoot: Self { need(getuid() == 0, "needs root: sudo make test") }

  /// The Python client of PyPI in its own environment.
  public static var needsPythonClient: Self {
    need(
      FileManager.default.isExecutableFile(atPath: pythonOfTheClient),
      "needs neon-api 0.3.0 in \(pythonOfTheClient): scripts/setup --client")
  }

  /// The interpreter that has it.
  public static var pythonOfTheClient: String {
    "\(FileManager.default.currentDirectoryPath)/.build/neon-client/bin/python"
  }

  /// Free space below `EXZO_TEST_DIR` or `/tmp`.
  public static func needsDisk(gigabytes: UInt64) -> Self {
    let root = ProcessInfo.processInfo.environment["EXZO_TEST_DIR"] ?? "/tmp"
    var status = statvfs()
    let free = statvfs(root, &status) == 0 ? UInt64(status.f_bavail) * UInt64(status.f_frsize) : 0
    return need(
      free >= gigabytes << 30,
      "needs \(gigabytes) GiB free in \(root): set EXZO_TEST_DIR to a larger file system")
  }

  private static func need(_ isMet: Bool, _ advice: Comment) -> Self {
    let isDemanded = ProcessInfo.processInfo.environment["EXZO_TEST_ALL"] == "1"
    return .enabled(if: isMet || isDemanded, advice)
  }
}
