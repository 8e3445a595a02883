import CCRC32C

/// CRC-32C of bytes, going on from that of the bytes before them.
func crc32c(_ bytes: UnsafeRawBufferPointer, from crc: UInt32 = 0) -> UInt32 {
  exzo_crc32c(crc, bytes.baseAddress, bytes.count)
}

func crc32c(_ bytes: [UInt8], from crc: UInt32 = 0) -> UInt32 {
  bytes.withUnsafeBytes { crc32c($0, from: crc) }
}
