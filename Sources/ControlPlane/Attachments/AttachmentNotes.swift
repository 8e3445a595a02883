import APITypes
import Catalog

extension AttachmentService {
  /// As ``present(_:_:)``, with what was noted when the server was looked at.
  func presentNoted(_ record: AttachmentRecord, _ status: FollowStatus?) -> API.Attachment {
    var shown = present(record, status)
    shown.notes = record.source.notes
    return shown
  }
}
