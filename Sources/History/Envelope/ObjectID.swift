import ObjectStorage

/// What an object's envelope says it is: a 128-bit hash of the object's key.
///
/// An object found under another key than it was written for is so recognised without any other
/// object's help. FNV-1a, 128 bits: keys are Exzo's own, so no one chooses them to collide;
/// encryption will bind parts to this identity.
struct ObjectID: Hashable, Sendable {
  var value: UInt128

  init(value: UInt128) { self.value = value }

  init(of key: ObjectKey) {
    var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
    let prime: UInt128 = 0x0000_0000_0100_0000_0000_0000_0000_013B
    for byte in key.name.utf8 {
      hash ^= UInt128(byte)
      hash = hash &* prime
    }
    value = hash
  }
}
