import Crypto

/// The layout of a sealed object: a header, then frames that open each alone.
///
/// Each object has a key of its own, derived from its project's key, 32 random bytes and its name:
/// a frame's place is its nonce, and no two frames ever share key and nonce.
///
/// On disk: docs/formats/sealed-object.md.
enum SealedObject {
  static let headerSize: UInt64 = 80
  /// Plain bytes in a frame; fewer in the last.
  static let frameSize: UInt64 = 8192
  static let tagSize: UInt64 = 16
  private static let sealedFrameSize = frameSize + tagSize

  /// Frames of an object; an empty one has one, which proves that it is empty.
  static func frames(_ plainSize: UInt64) -> UInt64 {
    max(1, (plainSize + frameSize - 1) / frameSize)
  }

  static func sealedSize(_ plainSize: UInt64) -> UInt64 {
    headerSize + plainSize + frames(plainSize) * tagSize
  }

  /// `nil` where no object has this size.
  static func plainSize(_ sealedSize: UInt64) -> UInt64? {
    guard sealedSize >= headerSize + tagSize else { return nil }
    let body = sealedSize - headerSize
    let count = (body + sealedFrameSize - 1) / sealedFrameSize
    guard body >= count * tagSize else { return nil }
    let size = body - count * tagSize
    return self.sealedSize(size) == sealedSize ? size : nil
  }

  /// Where the frames that hold a plain range lie in the object. The last may end earlier.
  static func sealedRange(_ plain: Range<UInt64>) -> Range<UInt64> {
    let first = plain.lowerBound / frameSize
    let end = max(first + 1, (plain.upperBound + frameSize - 1) / frameSize)
    return headerSize + first * sealedFrameSize..<headerSize + end * sealedFrameSize
  }
}

/// The first 80 bytes of a sealed object.
struct SealedHeader: Sendable, Equatable {
  private static let magic: UInt32 = 0x535A_5845  // "EXZS"
  private static let version: UInt16 = 1
  /// The one kind there is: AES-256-GCM in frames of 8 KiB.
  private static let kind: UInt16 = 1

  /// 12 bytes.
  var keyID: [UInt8]
  /// 32 random bytes.
  var salt: [UInt8]
  var plainSize: UInt64

  init(keyID: [UInt8], salt: [UInt8], plainSize: UInt64) {
    self.keyID = keyID
    self.salt = salt
    self.plainSize = plainSize
  }

  var encoded: [UInt8] {
    var out: [UInt8] = []
    withUnsafeBytes(of: SealedHeader.magic.littleEndian) { out += $0 }
    withUnsafeBytes(of: SealedHeader.version.littleEndian) { out += $0 }
    withUnsafeBytes(of: SealedHeader.kind.littleEndian) { out += $0 }
    out += keyID + salt
    withUnsafeBytes(of: plainSize.littleEndian) { out += $0 }
    out += [UInt8](repeating: 0, count: 16)
    withUnsafeBytes(of: crc32c(out).littleEndian) { out += $0 }
    return out
  }

  init(_ bytes: ArraySlice<UInt8>, key: ObjectKey) throws {
    func refused(_ code: ObjectStorageError.Code, _ detail: String) -> ObjectStorageError {
      ObjectStorageError(code, operation: "open sealed object", key: key.name, detail: detail)
    }
    let raw = Array(bytes)
    guard raw.count == Int(SealedObject.headerSize) else { throw refused(.damaged, "cut short") }
    func number<Value: FixedWidthInteger>(_ offset: Int) -> Value {
      raw.withUnsafeBytes {
        Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
      }
    }
    guard number(0) == SealedHeader.magic else { throw refused(.damaged, "it is not sealed") }
    guard number(76) == crc32c(Array(raw[..<76])) else {
      throw refused(.damaged, "header checksum wrong")
    }
    guard number(4) == SealedHeader.version, number(6) == SealedHeader.kind else {
      throw refused(.misconfigured, "format \(number(4) as UInt16), made by a later Exzo")
    }
    self.init(keyID: Array(raw[8..<20]), salt: Array(raw[20..<52]), plainSize: number(52))
  }
}

/// Seals and opens the frames of one object.
struct FrameSealer: Sendable {
  let header: SealedHeader
  private let headerBytes: [UInt8]
  private let key: SymmetricKey
  private let name: ObjectKey

  init(_ header: SealedHeader, projectKey: [UInt8], name: ObjectKey) {
    self.header = header
    self.name = name
    headerBytes = header.encoded
    key = HKDF<SHA256>.deriveKey(
      inputKeyMaterial: SymmetricKey(data: projectKey), salt: header.salt,
      info: Array("exzo sealed object 1:\(name.name)".utf8), outputByteCount: 32)
  }

  private func place(_ frame: UInt64) throws -> (nonce: AES.GCM.Nonce, associated: [UInt8]) {
    let offset = withUnsafeBytes(of: (frame * SealedObject.frameSize).littleEndian) { Array($0) }
    return (try AES.GCM.Nonce(data: offset + [0, 0, 0, 0]), headerBytes + offset)
  }

  /// Adds frames from `first` on to `out`. All but the object's last are whole.
  func seal(
    _ plain: UnsafeRawBufferPointer, firstFrame: UInt64, into out: inout [UInt8]
  ) throws {
    var (offset, frame) = (0, firstFrame)
    repeat {
      let count = min(plain.count - offset, Int(SealedObject.frameSize))
      let (nonce, associated) = try place(frame)
      let box = try AES.GCM.seal(
        UnsafeRawBufferPointer(rebasing: plain[offset..<offset + count]), using: key,
        nonce: nonce, authenticating: associated)
      // Byte by byte through `Data`'s iterator would cost more than the sealing.
      box.ciphertext.withUnsafeBytes { out.append(contentsOf: $0) }
      box.tag.withUnsafeBytes { out.append(contentsOf: $0) }
      (offset, frame) = (offset + count, frame + 1)
    } while offset < plain.count
  }

  /// Opens whole frames, the first of which is `firstFrame`.
  func open(_ sealed: UnsafeRawBufferPointer, firstFrame: UInt64) throws -> [UInt8] {
    var plain: [UInt8] = []
    plain.reserveCapacity(sealed.count)
    let whole = Int(SealedObject.frameSize + SealedObject.tagSize)
    var (offset, frame) = (0, firstFrame)
    while offset < sealed.count {
      let count = min(sealed.count - offset, whole)
      let start = frame * SealedObject.frameSize
      let expected = min(
        SealedObject.frameSize, header.plainSize > start ? header.plainSize - start : 0)
      guard count == Int(expected + SealedObject.tagSize) else { throw damaged(frame) }
      let (nonce, associated) = try place(frame)
      let end = offset + count - Int(SealedObject.tagSize)
      do {
        let box = try AES.GCM.SealedBox(
          nonce: nonce, ciphertext: UnsafeRawBufferPointer(rebasing: sealed[offset..<end]),
          tag: UnsafeRawBufferPointer(rebasing: sealed[end..<offset + count]))
        try AES.GCM.open(box, using: key, authenticating: associated)
          .withUnsafeBytes { plain.append(contentsOf: $0) }
      } catch {
        throw damaged(frame)
      }
      (offset, frame) = (offset + count, frame + 1)
    }
    return plain
  }

  private func damaged(_ frame: UInt64) -> ObjectStorageError {
    ObjectStorageError(
      .damaged, operation: "open sealed object", key: name.name,
      detail: "frame \(frame) of \(SealedObject.frames(header.plainSize)) does not open")
  }
}
