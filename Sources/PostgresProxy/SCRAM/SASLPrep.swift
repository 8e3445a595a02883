import Foundation

/// RFC 4013's preparation of passwords, as PostgreSQL's `saslprep.c` does it.
///
/// Left-to-right letters (RFC 3454 table D.2) are taken to be the alphabetic ones outside table
/// D.1; the tables themselves would be several hundred ranges for a case that mixes scripts in one
/// password.
enum SASLPrep {
  /// The prepared password; nil when it holds what the profile prohibits, and then both sides use
  /// the password as it stands.
  static func prepare(_ password: String) -> String? {
    if password.utf8.allSatisfy({ $0 < 0x80 }) { return password }
    var mapped = String.UnicodeScalarView()
    for scalar in password.unicodeScalars {
      if contains(nonASCIISpaces, scalar) {
        mapped.append(" ")
      } else if !contains(mappedToNothing, scalar) {
        mapped.append(scalar)
      }
    }
    let normal = String(mapped).precomposedStringWithCompatibilityMapping
    let scalars = normal.unicodeScalars
    guard !scalars.isEmpty, scalars.allSatisfy(isAllowed), hasOneDirection(scalars) else {
      return nil
    }
    return normal
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    !contains(prohibited, scalar) && !contains(nonASCIISpaces, scalar)
      && scalar.value & 0xFFFE != 0xFFFE && isAssigned(scalar)
  }

  /// Stringprep is fixed to Unicode 3.2.
  private static func isAssigned(_ scalar: Unicode.Scalar) -> Bool {
    guard let age = scalar.properties.age else { return false }
    return (age.major, age.minor) <= (3, 2)
  }

  /// RFC 3454 section 6: right-to-left text starts and ends so and mixes with no other.
  private static func hasOneDirection(_ scalars: String.UnicodeScalarView) -> Bool {
    guard scalars.contains(where: { contains(rightToLeft, $0) }) else { return true }
    guard let first = scalars.first, let last = scalars.last,
      contains(rightToLeft, first), contains(rightToLeft, last)
    else { return false }
    return !scalars.contains { $0.properties.isAlphabetic && !contains(rightToLeft, $0) }
  }

  private static func contains(_ ranges: [ClosedRange<UInt32>], _ scalar: Unicode.Scalar) -> Bool {
    ranges.contains { $0.contains(scalar.value) }
  }

  /// Table B.1.
  private static let mappedToNothing: [ClosedRange<UInt32>] = [
    0xAD...0xAD, 0x34F...0x34F, 0x1806...0x1806, 0x180B...0x180D, 0x200B...0x200D,
    0x2060...0x2060, 0xFE00...0xFE0F, 0xFEFF...0xFEFF,
  ]
  /// Table C.1.2.
  private static let nonASCIISpaces: [ClosedRange<UInt32>] = [
    0xA0...0xA0, 0x1680...0x1680, 0x2000...0x200B, 0x202F...0x202F, 0x205F...0x205F,
    0x3000...0x3000,
  ]
  /// Tables C.2.1 to C.9, without the non-characters at each plane's end.
  private static let prohibited: [ClosedRange<UInt32>] = [
    0x00...0x1F, 0x7F...0x9F, 0x340...0x341, 0x6DD...0x6DD, 0x70F...0x70F, 0x180E...0x180E,
    0x200C...0x200F, 0x2028...0x202E, 0x2060...0x2063, 0x206A...0x206F, 0x2FF0...0x2FFB,
    0xE000...0xF8FF, 0xFDD0...0xFDEF, 0xFEFF...0xFEFF, 0xFFF9...0xFFFD, 0x1D173...0x1D17A,
    0xE0001...0xE0001, 0xE0020...0xE007F, 0xF0000...0xFFFFD, 0x100000...0x10FFFD,
  ]
  /// Table D.1.
  private static let rightToLeft: [ClosedRange<UInt32>] = [
    0x5BE...0x5BE, 0x5C0...0x5C0, 0x5C3...0x5C3, 0x5D0...0x5EA, 0x5F0...0x5F4, 0x61B...0x61B,
    0x61F...0x61F, 0x621...0x63A, 0x640...0x64A, 0x66D...0x66F, 0x671...0x6D5, 0x6DD...0x6DD,
    0x6E5...0x6E6, 0x6FA...0x6FE, 0x700...0x70D, 0x710...0x710, 0x712...0x72C, 0x780...0x7A5,
    0x7B1...0x7B1, 0x200F...0x200F, 0xFB1D...0xFB1D, 0xFB1F...0xFB28, 0xFB2A...0xFB36,
    0xFB38...0xFB3C, 0xFB3E...0xFB3E, 0xFB40...0xFB41, 0xFB43...0xFB44, 0xFB46...0xFBB1,
    0xFBD3...0xFD3D, 0xFD50...0xFD8F, 0xFD92...0xFDC7, 0xFDF0...0xFDFC, 0xFE70...0xFE74,
    0xFE76...0xFEFC,
  ]
}
