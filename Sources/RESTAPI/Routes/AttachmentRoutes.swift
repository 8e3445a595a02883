import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  /// Servers that live elsewhere.
  static func attachments(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", "/projects/attach", "attachServer",
        "Makes a project that follows a PostgreSQL server elsewhere and keeps its history",
        body: API.AttachRequest.self, status: 201
      ) { request in
        try await plane.attachments.attach(try request.decode(), account: request.account)
      },
      Route(
        "GET", "/projects/{project_id}/attachment", "getAttachment",
        "Shows the server that a project follows, and how far it is"
      ) { request in
        API.AttachmentResponse(
          attachment: try await plane.attachments.get(request.project, account: request.account))
      },
      Route(
        "PATCH", "/projects/{project_id}/attachment", "updateAttachment",
        "Tells where the server that a project follows is from now on, and who connects to it",
        body: API.AttachmentUpdateRequest.self
      ) { request in
        try await plane.attachments.update(
          request.project, try request.decode(), account: request.account)
      },
      Route(
        "POST", "/projects/{project_id}/detach", "detachServer",
        "Ends the following: the server is as it was, history and branches stay",
        body: API.DetachRequest.self, isBodyRequired: false
      ) { request in
        let body =
          request.body.isEmpty ? API.DetachRequest() : try request.decode(API.DetachRequest.self)
        return try await plane.attachments.detach(
          request.project, body, account: request.account)
      },
    ]
  }
}
