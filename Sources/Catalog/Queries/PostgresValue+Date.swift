import APITypes
import Foundation
import PostgresClient

extension PostgresValue {
  init(_ date: Date) { self = .text(RFC3339.text(date)) }
}
