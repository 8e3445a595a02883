// swift-tools-version: 6.1
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
  .unsafeFlags(["-warnings-as-errors"]),
]

/// A Swift target of this package with the settings that all of them share.
func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

/// A test target that mirrors `Sources/<name>`.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: dependencies + ["TestSupport"],
    swiftSettings: swiftSettings)
}

let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let arguments = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let lifecycle = Target.Dependency.product(
  name: "ServiceLifecycle", package: "swift-service-lifecycle")
let nio = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTLS = Target.Dependency.product(name: "HummingbirdTLS", package: "hummingbird")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let mustache = Target.Dependency.product(name: "Mustache", package: "swift-mustache")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let package = Package(
  name: "exzo",
  products: [.executable(name: "exzo", targets: ["exzo"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // C module maps and shims
    .systemLibrary(
      name: "CFuse", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(
      name: "CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(
      name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .target(name: "CCRC32C", cSettings: [.unsafeFlags(["-O3"])]),
    .target(name: "CProcess"),

    // engine
    module("PostgresFormat", ["CCRC32C"]),
    module("DurableIO", ["CCRC32C"]),
    module("PostgresClient", ["CLibpq", "PostgresFormat"]),
    module(
      "ObjectStorage",
      ["DurableIO", "CCRC32C", httpClient, nio, nioHTTP1, nioSSL, crypto]),
    module("Volume", ["DurableIO", "CCRC32C", log]),
    module(
      "History",
      ["PostgresFormat", "DurableIO", "ObjectStorage", "Volume", "CZstd", "CCRC32C", log]),
    module("VolumeMount", ["Volume", "DurableIO", "CFuse", "CProcess", log]),
    module(
      "Capture",
      ["PostgresFormat", "PostgresClient", "DurableIO", "ObjectStorage", "History", "CCRC32C"]),
    .target(
      name: "PageRedo", dependencies: ["PostgresFormat", "DurableIO", "CProcess", "CCRC32C"],
      exclude: ["Extension"], swiftSettings: swiftSettings),
    module(
      "Compute",
      [
        "PostgresFormat", "PostgresClient", "DurableIO", "ObjectStorage", "History", "Volume",
        "VolumeMount", "Capture", "PageRedo", "CProcess", log,
      ]),

    // platform
    module(
      "Catalog",
      [
        "APITypes", "PostgresFormat", "PostgresClient", "ObjectStorage", "CCRC32C", "CProcess", log,
        crypto,
      ]),
    module("APITypes", []),
    module(
      "ControlPlane",
      ["PostgresFormat", "PostgresClient", "Catalog", "APITypes", log, crypto]),
    module(
      "Dumps",
      [
        "ControlPlane", "APITypes", "ObjectStorage", "DurableIO", "PostgresClient", "CProcess",
        "CCRC32C", crypto, log,
      ]),
    module(
      "ControlPlaneSimulation",
      ["ControlPlane", "Catalog", "RESTAPI", "PostgresFormat", "TestSupport", log]),
    module("APIClient", ["APITypes", httpClient, nio, nioPosix, nioHTTP1, nioSSL]),
    module("CommandLineTool", ["APITypes", "APIClient", yams]),
    module(
      "RESTAPI",
      [
        "ControlPlane", "Catalog", "APITypes", "PostgresFormat", hummingbird, lifecycle, crypto,
        log,
      ]),
    .target(
      name: "Console",
      dependencies: [
        "RESTAPI", "ControlPlane", "Catalog", "APITypes", hummingbird, mustache, crypto, log,
      ],
      // In the program itself, so that it can be copied alone.
      resources: [.embedInCode("Pages"), .embedInCode("Static")], swiftSettings: swiftSettings),
    module("PostgresProxy", [nio, nioPosix, nioSSL, nioTLS, x509, crypto, log]),
    .executableTarget(
      name: "exzo",
      dependencies: [
        "Compute", "Catalog", "ControlPlane", "Dumps", "RESTAPI", "Console", "PostgresProxy",
        "CommandLineTool",
        "APITypes", "APIClient",
        "DurableIO", "History", "ObjectStorage", "PostgresFormat", "PostgresClient",
        arguments, log, lifecycle, yams, hummingbird, hummingbirdCore, hummingbirdTLS, nio, nioSSL,
        httpClient,
      ],
      swiftSettings: swiftSettings),

    // measuring by hand
    .executableTarget(
      name: "WALReading", dependencies: ["PostgresFormat"], path: "Benchmarks/WALReading",
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "VolumeMounting",
      dependencies: ["Volume", "VolumeMount", "DurableIO", "PostgresFormat", log],
      path: "Benchmarks/VolumeMounting", swiftSettings: swiftSettings),

    // tests
    module("TestSupport", ["DurableIO", "ObjectStorage", "PostgresFormat"]),
    tests("PostgresFormat", ["PostgresFormat", "CCRC32C"]),
    tests("TestSupport", []),
    tests("DurableIO", ["DurableIO"]),
    tests("PostgresClient", ["PostgresClient"]),
    tests("ObjectStorage", ["ObjectStorage", "DurableIO", crypto]),
    tests("History", ["History"]),
    tests("Volume", ["Volume"]),
    tests("VolumeMount", ["VolumeMount", "Volume", "VolumeMounting", "DurableIO", log]),
    tests(
      "Capture",
      ["Capture", "DurableIO", "History", "ObjectStorage", "PostgresClient", "PostgresFormat"]),
    tests("PageRedo", ["PageRedo", "PostgresFormat"]),
    tests("Compute", ["Compute"]),
    tests("Catalog", ["Catalog", "DurableIO", "ObjectStorage"]),
    tests("APITypes", ["APITypes"]),
    tests(
      "ControlPlane",
      [
        "ControlPlane", "ControlPlaneSimulation", "Catalog", "APITypes", "PostgresClient",
        "PostgresFormat", "History", "Volume", "ObjectStorage", "DurableIO",
      ]),
    tests("Dumps", ["Dumps", "ControlPlane", "APITypes", "ObjectStorage", log]),
    tests(
      "RESTAPI",
      [
        "RESTAPI", "ControlPlaneSimulation", "ControlPlane", "Catalog", "APITypes",
        "PostgresFormat",
      ]),
    tests(
      "Console",
      [
        "Console", "RESTAPI", "ControlPlaneSimulation", "ControlPlane", "Catalog", "APITypes",
        "PostgresFormat",
      ]),
    tests("PostgresProxy", ["PostgresProxy"]),
    tests("CommandLineTool", ["CommandLineTool"]),
    tests("EndToEnd", []),
  ]
)
