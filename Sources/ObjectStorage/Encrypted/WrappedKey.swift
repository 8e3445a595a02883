import Crypto

/// A key of the store, sealed with a master key; lies in the store as an object of its own.
///
/// On disk: docs/formats/sealed-object.md.
struct WrappedKey: Sendable, Equatable {
  enum Purpose: UInt16, Sendable {
    /// Seals the objects of one project.
    case data = 1
    /// Hides names.
    case names = 2
  }

  static let idSize = 12
  private static let magic: UInt32 = 0x4B5A_5845  // "EXZK"
  private static let version: UInt16 = 1
  private static let headerSize = 40
  private static let size = headerSize + 32 + 16 + 4

  var purpose: Purpose
  /// 12 bytes.
  var id: [UInt8]
  var bytes: [UInt8]

  /// - Parameter name: of the object, bound to what is in it.
  func wrapped(with master: MasterKey, name: String) throws -> [UInt8] {
    var out: [UInt8] = []
    withUnsafeBytes(of: WrappedKey.magic.littleEndian) { out += $0 }
    withUnsafeBytes(of: WrappedKey.version.littleEndian) { out += $0 }
    withUnsafeBytes(of: purpose.rawValue.littleEndian) { out += $0 }
    let nonce = AES.GCM.Nonce()
    out += id + master.id + Array(nonce)
    let box = try AES.GCM.seal(
      bytes, using: master.symmetric, nonce: nonce, authenticating: out + Array(name.utf8))
    out += Array(box.ciphertext) + Array(box.tag)
    withUnsafeBytes(of: crc32c(out).littleEndian) { out += $0 }
    return out
  }

  /// The id of the master key that a wrapped key needs.
  static func masterID(_ stored: [UInt8]) -> [UInt8]? {
    stored.count == size ? Array(stored[20..<28]) : nil
  }

  /// Whether they are the bytes that were put; needs no master key.
  static func isWhole(_ stored: [UInt8]) -> Bool {
    guard stored.count == size else { return false }
    let (magic, crc) = stored.withUnsafeBytes {
      (
        UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 0, as: UInt32.self)),
        UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: size - 4, as: UInt32.self))
      )
    }
    return magic == WrappedKey.magic && crc == crc32c(Array(stored.dropLast(4)))
  }

  init(purpose: Purpose, id: [UInt8], bytes: [UInt8]) {
    self.purpose = purpose
    self.id = id
    self.bytes = bytes
  }

  init(_ stored: [UInt8], name: String, masters: MasterKeys) throws {
    func damaged(_ detail: String) -> ObjectStorageError {
      ObjectStorageError(.damaged, operation: "open key", key: name, detail: detail)
    }
    guard stored.count == WrappedKey.size else { throw damaged("\(stored.count) bytes") }
    func number<Value: FixedWidthInteger>(_ offset: Int) -> Value {
      stored.withUnsafeBytes {
        Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
      }
    }
    guard WrappedKey.isWhole(stored) else { throw damaged("no key, or checksum wrong") }
    guard number(4) == WrappedKey.version, let purpose = Purpose(rawValue: number(6)) else {
      throw damaged("version \(number(4) as UInt16): made by a later Exzo")
    }
    let masterID = Array(stored[20..<28])
    guard let master = masters.key(id: masterID) else {
      throw ObjectStorageError(
        .unknownKey, operation: "open key", key: name,
        detail: "it needs master key \(hexadecimal(masterID)); at hand is \(masters.current.name)",
        hint: "give the master key that this store was written with; without it the content is lost"
      )
    }
    do {
      let box = try AES.GCM.SealedBox(
        nonce: AES.GCM.Nonce(data: stored[28..<40]), ciphertext: stored[40..<72],
        tag: stored[72..<88])
      let plain = try AES.GCM.open(
        box, using: master.symmetric, authenticating: stored[..<40] + Array(name.utf8))
      self.init(purpose: purpose, id: Array(stored[8..<20]), bytes: Array(plain))
    } catch {
      throw damaged("it does not open with master key \(master.name)")
    }
  }
}
