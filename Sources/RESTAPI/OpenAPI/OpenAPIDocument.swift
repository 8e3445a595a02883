import APITypes

/// The OpenAPI 3.0 document of a table of routes, generated so that it says what is served.
struct OpenAPIDocument {
  let json: JSONValue

  init(_ table: RouteTable) throws {
    var paths: [String: JSONValue] = [:]
    for route in table.routes {
      var item: [String: JSONValue] = [:]
      if case .object(let present)? = paths[route.pattern] { item = present }
      item[route.method.lowercased()] = try Self.operation(route)
      paths[route.pattern] = .object(item)
    }
    json = [
      "openapi": "3.0.3",
      "info": [
        "title": "Exzo", "version": "v2",
        "description": "Any moment of a Postgres database as a branch.",
      ],
      "servers": [["url": .text(APIResponder.base)]],
      "security": [["BearerAuth": []]],
      "paths": .object(paths),
      "components": [
        "securitySchemes": ["BearerAuth": ["type": "http", "scheme": "bearer"]],
        "schemas": ["Error": try SchemaDiscovery.schema(of: API.ErrorBody.self)],
      ],
    ]
  }

  private static func operation(_ route: Route) throws -> JSONValue {
    let error: JSONValue = [
      "description": "Refused or failed; `code` says why",
      "content": ["application/json": ["schema": ["$ref": "#/components/schemas/Error"]]],
    ]
    var answers: [String: JSONValue] = ["default": error]
    if route.stream != nil {
      answers[String(route.status)] = [
        "description": .text(route.summary),
        "content": [
          "application/octet-stream": ["schema": ["type": "string", "format": "binary"]]
        ],
      ]
    } else if let answer = route.answer {
      answers[String(route.status)] = [
        "description": .text(route.summary),
        "content": ["application/json": ["schema": try SchemaDiscovery.schema(of: answer)]],
      ]
    } else {
      answers[String(route.status)] = error
    }
    var operation: [String: JSONValue] = [
      "operationId": .text(route.operationID), "summary": .text(route.summary),
      "responses": .object(answers),
    ]
    let parameters = pathParameters(route) + route.query.map(parameter)
    if !parameters.isEmpty { operation["parameters"] = .list(parameters) }
    if let body = route.body {
      operation["requestBody"] = [
        "required": .flag(route.isBodyRequired),
        "content": ["application/json": ["schema": try SchemaDiscovery.schema(of: body)]],
      ]
    }
    return .object(operation)
  }

  private static func pathParameters(_ route: Route) -> [JSONValue] {
    route.segments.filter { $0.hasPrefix("{") }.map { segment in
      [
        "name": .text(String(segment.dropFirst().dropLast())), "in": "path", "required": true,
        "schema": ["type": "string"],
      ]
    }
  }

  private static func parameter(_ parameter: QueryParameter) -> JSONValue {
    let schema: JSONValue =
      switch parameter.kind {
      case .text: ["type": "string"]
      case .flag: ["type": "boolean"]
      case .integer(let range):
        [
          "type": "integer", "minimum": .number(range.lowerBound),
          "maximum": .number(range.upperBound),
        ]
      case .time: ["type": "string", "format": "date-time"]
      case .list(let maximum):
        ["type": "array", "items": ["type": "string"], "maxItems": .number(maximum)]
      case .words(let words): ["type": "string", "enum": .list(words.map { .text($0) })]
      }
    return [
      "name": .text(parameter.name), "in": "query", "required": .flag(parameter.isRequired),
      "schema": schema,
    ]
  }
}
