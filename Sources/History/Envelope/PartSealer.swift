/// Turns a part's bytes into what is stored, and back: where encryption will come in.
///
/// A sealer must bind what it seals to the object and to the part's offset in it, so that a part
/// that was moved does not open.
protocol PartSealer: Sendable {
  /// 0 where nothing is sealed; else which key sealed it.
  var keyID: UInt32 { get }
  /// Bytes that sealing adds to a part.
  var overhead: Int { get }
  func seal(_ bytes: inout [UInt8], object: ObjectID, nonce: [UInt8], offset: UInt64) throws
  func open(_ bytes: inout [UInt8], object: ObjectID, nonce: [UInt8], offset: UInt64) throws
}

/// Stores parts as they are.
struct PlainPartSealer: PartSealer {
  var keyID: UInt32 { 0 }
  var overhead: Int { 0 }
  func seal(_ bytes: inout [UInt8], object: ObjectID, nonce: [UInt8], offset: UInt64) {}
  func open(_ bytes: inout [UInt8], object: ObjectID, nonce: [UInt8], offset: UInt64) {}
}
