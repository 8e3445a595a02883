/// Signs requests, sends them, sends them again where that may help, and says what an error means.
///
/// The one layer that retries: nothing above or below repeats a request.
struct S3Client: Sendable {
  let location: S3Location
  let environment: S3Environment
  private let transport: HTTPTransport
  private let signature: S3Signature
  private let policy: S3RetryPolicy

  /// How a try ended, where it did not give what was asked for.
  enum Failed: Error {
    /// Another try may do.
    case again(ObjectStorageError)
    case final(ObjectStorageError)
  }

  init(
    location: S3Location, credentials: S3Credentials, policy: S3RetryPolicy,
    environment: S3Environment
  ) throws {
    self.location = location
    self.environment = environment
    self.policy = policy
    transport = try HTTPTransport(location: location)
    signature = S3Signature(credentials: credentials, region: location.region)
  }

  /// Sends a request until `take` accepts its answer.
  ///
  /// - Parameter operation: verb and object, for errors; `key` is the object or prefix concerned.
  /// - Parameter accepts: statuses that `take` gets to see; others are errors.
  /// - Parameter take: throws ``Failed`` where the answer is not what it should be.
  func perform<Value>(
    _ request: S3Request, _ operation: String, key: String, accepts: [Int],
    take: (S3Response) async throws -> Value
  ) async throws -> Value {
    var attempt = 1
    while true {
      do {
        return try await once(request, operation, key, accepts, take)
      } catch let failed as Failed {
        switch failed {
        case .final(let error): throw error
        case .again(var error):
          if attempt >= policy.attempts {
            error.detail += error.detail.isEmpty ? "" : "; "
            error.detail += "given up after \(attempt) tries"
            throw error
          }
        }
        attempt += 1
        try await environment.sleep(
          policy.pause(before: attempt, random: environment.random()))
      }
    }
  }

  private func once<Value>(
    _ request: S3Request, _ operation: String, _ key: String, _ accepts: [Int],
    _ take: (S3Response) async throws -> Value
  ) async throws -> Value {
    let path = location.path(request.name)
    let query = request.encodedQuery
    let response: S3Response
    do {
      response = try await transport.send(
        request, target: query.isEmpty ? path : "\(path)?\(query)",
        headers: signature.headers(
          of: request, host: location.host, path: path, time: environment.now()),
        stall: policy.stall(sending: request.body.count))
    } catch let failure as HTTPTransport.Failure {
      throw Failed.again(
        error(
          .unavailable, operation, key, "\(failure)",
          hint: "check that the endpoint answers from this machine"))
    }
    guard accepts.contains(response.status) else {
      throw refusal(response, operation, key)
    }
    return try await take(response)
  }

  func error(
    _ code: ObjectStorageError.Code, _ operation: String, _ key: String, _ detail: String,
    hint: String = ""
  ) -> ObjectStorageError {
    ObjectStorageError(
      code, operation: operation, key: key,
      detail: "bucket '\(location.bucket)' at \(location.authority): \(detail)", hint: hint)
  }

  // MARK: What a status means

  /// Computes outlive serve, with the environment that they were started in.
  private static let renewal =
    "restart exzo serve with them, then each running compute, which has the old ones: "
    + "'exzo endpoints list', 'exzo endpoints restart ID'"

  private func refusal(_ response: S3Response, _ operation: String, _ key: String) -> Failed {
    // Proxies answer in other words; then the status alone tells.
    let answer = try? S3Answer(response.body)
    let code = answer?.root.first("Code")?.text ?? ""
    let message = answer?.root.first("Message")?.text ?? ""
    let detail =
      "status \(response.status)" + (code.isEmpty ? "" : " \(code)")
      + (message.isEmpty ? "" : ": \(message)")
    func failure(_ kind: ObjectStorageError.Code, _ hint: String = "") -> ObjectStorageError {
      error(kind, operation, key, detail, hint: hint)
    }
    switch (response.status, code) {
    case (404, "NoSuchBucket"):
      return .final(failure(.misconfigured, "create the bucket, or correct its name"))
    case (404, "NoSuchKey"), (404, "NoSuchUpload"), (404, "NoSuchVersion"):
      return .final(failure(.notFound))
    // Whoever does not say what is missing may be a proxy before a store that is away: nothing is taken for deleted.
    case (404, _):
      return .again(
        failure(
          .unavailable, "see whether the endpoint's address and path are those of an S3 store"))
    case (_, "RequestTimeTooSkewed"):
      return .final(failure(.denied, "set this machine's clock"))
    case (_, "ExpiredToken"), (_, "InvalidToken"):
      return .final(failure(.denied, "get fresh AWS_* credentials; \(S3Client.renewal)"))
    case (401, _), (403, _):
      return .final(
        failure(
          .denied,
          "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy; if the credentials "
            + "were renewed, \(S3Client.renewal)"))
    case (301, _), (307, _), (308, _), (400, "AuthorizationHeaderMalformed"):
      return .final(failure(.misconfigured, "give the bucket's region: ?region=…"))
    case (507, _), (_, "QuotaExceeded"), (_, "XMinioStorageFull"):
      return .final(failure(.noSpace, "make room in the bucket"))
    case (408, _), (429, _), (500..., _), (_, "RequestTimeout"), (_, "SlowDown"), (_, "BadDigest"),
      (_, "XAmzContentSHA256Mismatch"), (_, "IncompleteBody"):
      return .again(failure(.unavailable))
    default: return .final(failure(.unavailable))
    }
  }
}
