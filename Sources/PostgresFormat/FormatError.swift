/// Bytes that are not what PostgreSQL writes: what is wrong, where, and what was expected instead.
///
/// Thrown for bytes from a disk or a network, never for a wrong use of this module.
public struct FormatError: Error, Hashable, Sendable {
  /// A stable name for one kind of damage.
  public enum Code: String, Hashable, Sendable, CaseIterable {
    // WAL stream
    case gap, pageMagic, pageFlags, pageAddress, pageTimeline, systemIdentifier, segmentSize
    case walBlockSize, continuation, remainingLength, recordLength, resourceManager, previousLink
    case recordCRC, recordStructure, recordContent, overwrittenRecord
    // other files
    case fileLength, controlVersion, controlCRC, controlContent, pageHeader, pageChecksum
  }

  public var code: Code
  /// The position of the damaged record or WAL page, where there is one.
  public var lsn: LSN?
  /// The damaged byte's offset from the start of the record or file, where there is one.
  public var offset: Int?
  public var expected: String?
  public var found: String?

  public init(
    _ code: Code, lsn: LSN? = nil, offset: Int? = nil, expected: String? = nil,
    found: String? = nil
  ) {
    self.code = code
    self.lsn = lsn
    self.offset = offset
    self.expected = expected
    self.found = found
  }
}

extension FormatError: CustomStringConvertible {
  public var description: String {
    var text = "read \(code.subject)"
    if let lsn { text += " at \(lsn)" }
    if let offset { text += " offset \(offset)" }
    if let expected { text += ": expected \(expected)" }
    if let found { text += expected == nil ? ": found \(found)" : ", found \(found)" }
    return text
  }
}

extension FormatError.Code {
  /// What could not be read, in words.
  public var subject: String {
    switch self {
    case .gap: "WAL: bytes missing or repeated"
    case .pageMagic: "WAL page magic"
    case .pageFlags: "WAL page flags"
    case .pageAddress: "WAL page address"
    case .pageTimeline: "WAL page timeline"
    case .systemIdentifier: "system identifier"
    case .segmentSize: "WAL segment size"
    case .walBlockSize: "WAL block size"
    case .continuation: "WAL page continuation flag"
    case .remainingLength: "WAL page remaining length"
    case .recordLength: "WAL record length"
    case .resourceManager: "WAL record resource manager"
    case .previousLink: "WAL record previous link"
    case .recordCRC: "WAL record CRC"
    case .recordStructure: "WAL record structure"
    case .recordContent: "WAL record content"
    case .overwrittenRecord: "WAL overwritten record"
    case .fileLength: "file length"
    case .controlVersion: "control file version"
    case .controlCRC: "control file CRC"
    case .controlContent: "control file content"
    case .pageHeader: "page header"
    case .pageChecksum: "page checksum"
    }
  }
}
