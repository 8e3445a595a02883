import Glibc

extension UnsafeMutablePointer where Pointee == dirent {
  /// The entry's name, of what `readdir(3)` returned; invalid UTF-8 is repaired.
  ///
  /// Read in place: an entry ends after its name, so that a copy of all of `d_name` reads past it and, of the last
  /// one in the stream's buffer, past mapped memory.
  public var entryName: String {
    guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else {
      preconditionFailure("struct dirent has no d_name")
    }
    return String(
      cString: UnsafeRawPointer(self).advanced(by: offset).assumingMemoryBound(to: CChar.self))
  }
}
