import Foundation

extension API {
  /// A question to the operator, with what was written about it.
  public struct SupportTicket: Codable, Hashable, Sendable {
    public var id: String
    public var accountID: String
    public var subject: String
    /// `open`, `answered` or `closed`.
    public var state: String
    public var hasBundle: Bool
    public var createdAt: Date
    public var updatedAt: Date
    public var messages: [SupportMessage]

    public init(
      id: String, accountID: String, subject: String, state: String, hasBundle: Bool,
      createdAt: Date, updatedAt: Date, messages: [SupportMessage]
    ) {
      self.id = id
      self.accountID = accountID
      self.subject = subject
      self.state = state
      self.hasBundle = hasBundle
      self.createdAt = createdAt
      self.updatedAt = updatedAt
      self.messages = messages
    }

    enum CodingKeys: String, CodingKey {
      case id, subject, state, messages
      case accountID = "account_id"
      case hasBundle = "has_bundle"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
    }
  }

  /// One text of a ticket.
  public struct SupportMessage: Codable, Hashable, Sendable {
    public var author: String
    public var isOperator: Bool
    public var text: String
    public var createdAt: Date

    public init(author: String, isOperator: Bool, text: String, createdAt: Date) {
      self.author = author
      self.isOperator = isOperator
      self.text = text
      self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
      case author, text
      case isOperator = "is_operator"
      case createdAt = "created_at"
    }
  }

  public struct SupportTicketsResponse: Codable, Hashable, Sendable {
    public var tickets: [SupportTicket]
    public init(tickets: [SupportTicket]) { self.tickets = tickets }
  }

  public struct SupportTicketResponse: Codable, Hashable, Sendable {
    public var ticket: SupportTicket
    public init(ticket: SupportTicket) { self.ticket = ticket }
  }

  public struct NewSupportTicket: Codable, Hashable, Sendable {
    public var subject: String
    public var text: String
    /// Whether the account's support bundle goes with it.
    public var includesBundle: Bool?

    public init(subject: String, text: String, includesBundle: Bool? = nil) {
      self.subject = subject
      self.text = text
      self.includesBundle = includesBundle
    }

    enum CodingKeys: String, CodingKey {
      case subject, text
      case includesBundle = "includes_bundle"
    }
  }

  public struct SupportTicketCreateRequest: Codable, Hashable, Sendable {
    public var ticket: NewSupportTicket
    public init(ticket: NewSupportTicket) { self.ticket = ticket }
  }

  public struct NewSupportMessage: Codable, Hashable, Sendable {
    public var text: String?
    /// Whether the ticket is done.
    public var closes: Bool?

    public init(text: String? = nil, closes: Bool? = nil) {
      self.text = text
      self.closes = closes
    }
  }

  public struct SupportMessageRequest: Codable, Hashable, Sendable {
    public var message: NewSupportMessage
    public init(message: NewSupportMessage) { self.message = message }
  }

  /// What an account may hand to the operator; only the fields named here.
  public struct SupportBundle: Codable, Hashable, Sendable {
    public struct Server: Codable, Hashable, Sendable {
      public var hasDomain: Bool
      public var hasPooler: Bool
      public var requestsPerMinute: Int
      public var postgresMajors: [Int]
      public var computesRunning: Int
      public var system: String

      public init(
        hasDomain: Bool, hasPooler: Bool, requestsPerMinute: Int, postgresMajors: [Int],
        computesRunning: Int, system: String
      ) {
        self.hasDomain = hasDomain
        self.hasPooler = hasPooler
        self.requestsPerMinute = requestsPerMinute
        self.postgresMajors = postgresMajors
        self.computesRunning = computesRunning
        self.system = system
      }

      enum CodingKeys: String, CodingKey {
        case system
        case hasDomain = "has_domain"
        case hasPooler = "has_pooler"
        case requestsPerMinute = "requests_per_minute"
        case postgresMajors = "postgres_majors"
        case computesRunning = "computes_running"
      }
    }

    public struct Endpoint: Codable, Hashable, Sendable {
      public var id: String
      public var state: String
      public var suspendTimeoutSeconds: Int

      public init(id: String, state: String, suspendTimeoutSeconds: Int) {
        self.id = id
        self.state = state
        self.suspendTimeoutSeconds = suspendTimeoutSeconds
      }

      enum CodingKeys: String, CodingKey {
        case id, state
        case suspendTimeoutSeconds = "suspend_timeout_seconds"
      }
    }

    public struct FailedOperation: Codable, Hashable, Sendable {
      public var id: String
      public var kind: String
      public var failuresCount: Int
      public var createdAt: Date

      public init(id: String, kind: String, failuresCount: Int, createdAt: Date) {
        self.id = id
        self.kind = kind
        self.failuresCount = failuresCount
        self.createdAt = createdAt
      }

      enum CodingKeys: String, CodingKey {
        case id, kind
        case failuresCount = "failures_count"
        case createdAt = "created_at"
      }
    }

    public struct Project: Codable, Hashable, Sendable {
      public var id: String
      public var pgVersion: Int
      public var historyRetentionSeconds: Int
      public var branches: Int
      public var endpoints: [Endpoint]
      public var failedOperations: [FailedOperation]

      public init(
        id: String, pgVersion: Int, historyRetentionSeconds: Int, branches: Int,
        endpoints: [Endpoint], failedOperations: [FailedOperation]
      ) {
        self.id = id
        self.pgVersion = pgVersion
        self.historyRetentionSeconds = historyRetentionSeconds
        self.branches = branches
        self.endpoints = endpoints
        self.failedOperations = failedOperations
      }

      enum CodingKeys: String, CodingKey {
        case id, branches, endpoints
        case pgVersion = "pg_version"
        case historyRetentionSeconds = "history_retention_seconds"
        case failedOperations = "failed_operations"
      }
    }

    public var madeAt: Date
    public var accountID: String
    public var plan: String
    public var server: Server
    public var machine: MachineReport
    public var projects: [Project]

    public init(
      madeAt: Date, accountID: String, plan: String, server: Server, machine: MachineReport,
      projects: [Project]
    ) {
      self.madeAt = madeAt
      self.accountID = accountID
      self.plan = plan
      self.server = server
      self.machine = machine
      self.projects = projects
    }

    enum CodingKeys: String, CodingKey {
      case plan, server, machine, projects
      case madeAt = "made_at"
      case accountID = "account_id"
    }
  }
}
