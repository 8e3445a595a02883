/// Opcodes of `RM_XLOG_ID`. Source: `catalog/pg_control.h`.
enum XLOGOpcode {
  static let checkpointShutdown: UInt8 = 0x00
  static let checkpointOnline: UInt8 = 0x10
  static let noop: UInt8 = 0x20
  static let nextOID: UInt8 = 0x30
  static let segmentSwitch: UInt8 = 0x40
  static let backupEnd: UInt8 = 0x50
  static let parameterChange: UInt8 = 0x60
  static let restorePoint: UInt8 = 0x70
  static let fullPageWritesChange: UInt8 = 0x80
  static let endOfRecovery: UInt8 = 0x90
  static let imageForHint: UInt8 = 0xA0
  static let image: UInt8 = 0xB0
  static let overwriteContinuation: UInt8 = 0xD0
  /// 17 and later.
  static let checkpointRedo: UInt8 = 0xE0
}

/// Opcodes of `RM_XACT_ID`, under `XLOG_XACT_OPMASK`. Source: `access/xact.h`.
enum TransactionOpcode {
  static let mask: UInt8 = 0x70
  static let commit: UInt8 = 0x00
  static let prepare: UInt8 = 0x10
  static let abort: UInt8 = 0x20
  static let commitPrepared: UInt8 = 0x30
  static let abortPrepared: UInt8 = 0x40
  static let assignment: UInt8 = 0x50
  static let invalidations: UInt8 = 0x60
  static let hasInfo: UInt8 = 0x80
}

/// Opcodes of `RM_HEAP_ID` and `RM_HEAP2_ID`, under `XLOG_HEAP_OPMASK`. Source:
/// `access/heapam_xlog.h`.
enum HeapOpcode {
  static let mask: UInt8 = 0x70
  static let insert: UInt8 = 0x00
  static let delete: UInt8 = 0x10
  static let update: UInt8 = 0x20
  static let truncate: UInt8 = 0x30
  static let hotUpdate: UInt8 = 0x40
  static let lock: UInt8 = 0x60
  static let inPlace: UInt8 = 0x70
  static let multiInsert2: UInt8 = 0x50
  static let lockUpdated2: UInt8 = 0x60
}
