import Foundation

/// What became of multipart uploads that nobody will complete.
public enum UploadCleaning: Sendable, Equatable {
  /// - Parameters:
  ///   - found: uploads below the store's prefix that are not complete, those under way included.
  ///   - aborted: those of them that were too old, and whose parts are gone.
  case done(found: Int, aborted: Int)
  /// The store does not list uploads; what it said.
  case notSupported(String)
}

/// Multipart uploads that were cut off: no listing of objects shows them, and the bucket charges for their parts.
extension S3ObjectStore {
  /// Aborts uploads below the store's prefix that were begun before a time. One that is completed meanwhile, or
  /// was aborted by somebody else, is no error.
  ///
  /// - Parameter date: by the store's clock; longer ago than any upload takes.
  /// - Throws: ``ObjectStorageError`` where the store does not answer.
  public func abortUploads(begunBefore date: Date) async throws -> UploadCleaning {
    var (found, aborted) = (0, 0)
    var marker: UploadPage.Marker?
    repeat {
      switch try await uploads(after: marker) {
      case .notSupported(let said): return .notSupported(said)
      case .page(let page):
        for upload in page.uploads where upload.name.hasPrefix(client.location.prefix) {
          found += 1
          guard let begun = upload.begun, begun < date else { continue }
          try await abort(upload)
          aborted += 1
        }
        // A store that repeats itself would be asked for ever.
        guard page.next != marker else { return .done(found: found, aborted: aborted) }
        marker = page.next
      }
    } while marker != nil
    return .done(found: found, aborted: aborted)
  }

  private struct Upload {
    /// With the store's prefix.
    var name: String
    var id: String
    /// `nil` where the store does not tell: then it is left alone.
    var begun: Date?
  }

  private struct UploadPage {
    struct Marker: Equatable {
      var name: String
      var id: String
    }

    var uploads: [Upload] = []
    var next: Marker?
  }

  private enum UploadListing {
    case page(UploadPage)
    case notSupported(String)
  }

  private func uploads(after marker: UploadPage.Marker?) async throws -> UploadListing {
    var query = [("uploads", ""), ("prefix", client.location.prefix), ("max-uploads", "1000")]
    if let marker { query += [("key-marker", marker.name), ("upload-id-marker", marker.id)] }
    let request = S3Request(
      method: .get, name: "", query: query.map { (name: $0.0, value: $0.1) })
    let key = client.location.prefix
    return try await client.perform(
      request, "list multipart uploads", key: key, accepts: [200, 400, 404, 405, 501]
    ) { response in
      guard response.status == 200 else {
        // Answers without XML are told by their status.
        let said = (try? S3Answer(response.body))?.root.first("Code")?.text
        return .notSupported("status \(response.status)" + (said.map { " \($0)" } ?? ""))
      }
      let root = try parsed(response, "list multipart uploads", key).root
      guard root.name == "ListMultipartUploadsResult" else {
        return .notSupported("it answers with \(root.name)")
      }
      return .page(Self.page(root))
    }
  }

  private static func page(_ root: S3Answer.Element) -> UploadPage {
    var page = UploadPage()
    page.uploads = root.all("Upload").compactMap { element in
      guard let name = element.first("Key")?.text, let id = element.first("UploadId")?.text else {
        return nil
      }
      return Upload(name: name, id: id, begun: element.first("Initiated").flatMap { time($0.text) })
    }
    if root.first("IsTruncated")?.text == "true", let name = root.first("NextKeyMarker")?.text {
      page.next = .init(name: name, id: root.first("NextUploadIdMarker")?.text ?? "")
    }
    return page
  }

  /// `2026-11-26T04:09:55.722Z`, with or without a fraction.
  private static func time(_ text: String) -> Date? {
    let format = ISO8601DateFormatter()
    if let found = format.date(from: text) { return found }
    format.formatOptions.insert(.withFractionalSeconds)
    return format.date(from: text)
  }

  private func abort(_ upload: Upload) async throws {
    let request = S3Request(
      method: .delete, name: upload.name, query: [("uploadId", upload.id)])
    try await client.perform(
      request, "abort multipart upload", key: upload.name, accepts: [200, 204, 404], take: { _ in })
  }
}
