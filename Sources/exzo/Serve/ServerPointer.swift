import Foundation

/// Where the CLI of the same user finds the server that runs here: `~/.config/exzo/server.json`.
struct ServerPointer: Codable {
  var url: String
  var dataDirectory: String

  init(options: ServeOptions, httpPort: Int) {
    let scheme = options.tlsCertificate == nil ? "http" : "https"
    url = "\(scheme)://\(options.http.host):\(httpPort)"
    dataDirectory = options.dataDirectory
  }

  func write() throws {
    guard let home = ProcessInfo.processInfo.environment["HOME"] else { return }
    let directory = "\(home)/.config/exzo"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true)
    try JSONEncoder().encode(self)
      .write(to: URL(fileURLWithPath: "\(directory)/server.json"), options: .atomic)
  }
}
