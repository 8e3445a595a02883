extension API {
  /// The version of this build, as `exzo --version` tells it (docs: CHANGELOG.md).
  public static let version = "0.1.0-dev"

  /// One thing that `exzo doctor` looked at.
  public struct DoctorFinding: Codable, Hashable, Sendable {
    public var check: String
    public var isGood: Bool
    /// What was found; absent where it is the operator's business only.
    public var found: String?
    public var hint: String?

    public init(check: String, isGood: Bool, found: String?, hint: String? = nil) {
      self.check = check
      self.isGood = isGood
      self.found = found
      self.hint = hint
    }

    enum CodingKeys: String, CodingKey {
      case check, found, hint
      case isGood = "ok"
    }
  }

  /// A server's versions, and what its doctor says.
  public struct MachineReport: Codable, Hashable, Sendable {
    public var exzoVersion: String
    /// As the programs tell it, minor version and packager included; absent where none is installed.
    public var postgresVersion: String?
    public var doctor: [DoctorFinding]

    public init(
      exzoVersion: String = API.version, postgresVersion: String? = nil,
      doctor: [DoctorFinding] = []
    ) {
      self.exzoVersion = exzoVersion
      self.postgresVersion = postgresVersion
      self.doctor = doctor
    }

    enum CodingKeys: String, CodingKey {
      case doctor
      case exzoVersion = "exzo_version"
      case postgresVersion = "postgres_version"
    }

    /// Without what tells of the operator's machine: paths, processes, sizes.
    public var withoutPlaces: MachineReport {
      MachineReport(
        exzoVersion: exzoVersion, postgresVersion: postgresVersion,
        doctor: doctor.map { DoctorFinding(check: $0.check, isGood: $0.isGood, found: nil) })
    }
  }
}
