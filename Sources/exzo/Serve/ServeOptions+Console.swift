import Console
import Foundation

extension ServeOptions {
  /// How the Console is reached. Beside loopback's names: the address that is listened on, and what
  /// `--domain` and `--console-hosts` say.
  var consoleSettings: ConsoleSettings {
    var hosts = Set(consoleHosts + [http.host])
    if let domain { hosts.insert(domain) }
    return ConsoleSettings(
      hosts: hosts, usesTLS: tlsCertificate != nil, communityURL: communityURL,
      assetDirectory: ProcessInfo.processInfo.environment["EXZO_CONSOLE_ASSETS"])
  }
}
