import APITypes
import ControlPlane

extension API {
  /// The answer of `GET /users/me/organizations`; there are none.
  struct OrganizationsResponse: Codable, Sendable {
    var organizations: [String]
  }
}

extension RouteTable {
  static func accounts(_ plane: ControlPlane) -> [Route] {
    [
      Route("GET", "/api_keys", "listApiKeys", "Lists the account's API keys") { request in
        try await plane.accounts.keys(of: request.caller.account)
      },
      Route(
        "POST", "/api_keys", "createApiKey", "Makes an API key and shows it once",
        body: API.KeyCreateRequest.self
      ) { request in
        let body = try request.decode(API.KeyCreateRequest.self)
        return try await plane.accounts.createKey(body.keyName, for: request.caller.account)
      },
      Route("DELETE", "/api_keys/{key_id}", "revokeApiKey", "Revokes an API key") { request in
        let text = request.parameters["key_id"] ?? ""
        guard let id = Int(text) else {
          throw ControlPlaneError(.badValue, "'key_id' is '\(text.prefix(64))', must be a number")
        }
        return try await plane.accounts.revokeKey(id, of: request.caller.account)
      },
      Route("GET", "/users/me", "getCurrentUserInfo", "Shows the caller's account") { request in
        try await plane.accounts.me(request.caller.account)
      },
      Route(
        "GET", "/users/me/organizations", "getCurrentUserOrganizations", "Lists organizations: none"
      ) { _ in API.OrganizationsResponse(organizations: []) },
      Route("GET", "/auth", "getAuthDetails", "Tells how the request was authenticated") {
        request in
        API.AuthDetails(
          accountID: request.account.rawValue, authMethod: "api_key_user",
          authData: String(request.caller.key.id))
      },
      Route("GET", "/regions", "getActiveRegions", "Lists regions", query: [.text("org_id")]) { _ in
        API.RegionsResponse(regions: [
          API.Region(
            regionID: plane.settings.regionID, name: "This installation", isDefault: true,
            geoLat: "0", geoLong: "0")
        ])
      },
    ]
  }

  /// Everything below `/api/v2`.
  static func all(_ plane: ControlPlane) -> RouteTable {
    RouteTable(
      projects(plane) + branches(plane) + rolesAndDatabases(plane) + endpoints(plane)
        + accounts(plane) + restores(plane) + schemas(plane) + dumps(plane)
        + past(plane) + support(plane)
        // Accounts' own: administration, sharing, retention, use.
        + administration(plane) + permissions(plane) + retention(plane) + consumption(plane)
        + proofs(plane) + attachments(plane))
  }
}
