import ArgumentParser
import ControlPlane

/// Flags of `serve` about proofs and alerts.
struct ProofOptions: ParsableArguments {
  @Option(help: "Hours between restore drills of a branch (default 24; 0: none by themselves).")
  var drillEvery: Int?
  @Option(help: "Seconds that a moment may take to open in a drill (default 5).")
  var drillObjective: Int?
  @Option(help: "Hours between checks of all that is stored (default 168; 0: none by themselves).")
  var verifyEvery: Int?
  @Option(help: "Bytes a second that such a check reads (default 64M).") var verifyRate: String?
  @Option(help: "URL that alerts are posted to, as JSON.") var alertWebhook: String?
  @Option(help: "Shell command that gets alerts, as JSON on standard input.")
  var alertCommand: String?
  @Option(help: "Seconds that commits may be on this machine only (default 30).")
  var alertCaptureLag: Int?
  @Option(help: "Free disk below which there is an alert (default 5G).") var alertFreeDisk: String?
  @Option(help: "WAL kept on a compute's disk above which there is an alert (default 4G).")
  var alertKeptWal: String?
  @Option(help: "Seconds that the second store may be behind, or fail (default 600).")
  var alertMirrorLag: Int?

  static let names: Set<String> = [
    "drill-every", "drill-objective", "verify-every", "verify-rate", "alert-webhook",
    "alert-command", "alert-capture-lag", "alert-free-disk", "alert-kept-wal", "alert-mirror-lag",
  ]

  func proofs(_ layers: LayeredSettings) throws -> ProofSettings {
    ProofSettings(
      drillInterval: 3600
        * Double(try layers.count("drill-every", flag: drillEvery, standard: 24)),
      drillObjective: .seconds(
        try layers.count("drill-objective", flag: drillObjective, standard: 5)),
      verificationInterval: 3600
        * Double(try layers.count("verify-every", flag: verifyEvery, standard: 168)),
      verificationRate: try layers.bytes("verify-rate", flag: verifyRate, standard: 64 << 20))
  }

  func alerts(_ layers: LayeredSettings) throws -> AlertSettings {
    var channels: [any AlertChannel] = []
    if let url = layers.value("alert-webhook", flag: alertWebhook) {
      guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
        throw ValidationError("--alert-webhook: '\(url)' is no http:// or https:// URL")
      }
      channels.append(WebhookChannel(url: url))
    }
    if let command = layers.value("alert-command", flag: alertCommand) {
      channels.append(CommandChannel(command: command))
    }
    return AlertSettings(
      captureLag: Double(
        try layers.count("alert-capture-lag", flag: alertCaptureLag, standard: 30)),
      freeBytes: try layers.bytes("alert-free-disk", flag: alertFreeDisk, standard: 5 << 30),
      walBytes: try layers.bytes("alert-kept-wal", flag: alertKeptWal, standard: 4 << 30),
      mirrorLag: Double(try layers.count("alert-mirror-lag", flag: alertMirrorLag, standard: 600)),
      channels: channels)
  }
}
