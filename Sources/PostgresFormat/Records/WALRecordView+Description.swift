extension WALRecordView: CustomStringConvertible {
  /// The record as `pg_waldump` 15 prints it, without its `desc:` part.
  public var description: String {
    let images = blockReferences.reduce(0) { $0 + Int($1.imageLength) }
    var text = "rmgr: " + pad(resourceManager.name, to: 11, left: true)
    text += " len (rec/tot): " + pad("\(totalLength - images)", to: 6)
    text += "/" + pad("\(totalLength)", to: 6) + ", tx: " + pad("\(xid)", to: 10)
    text += ", lsn: \(fixedWidth(startLSN)), prev \(fixedWidth(previousLSN))"
    for block in blockReferences { text += ", " + describe(block) }
    return text
  }

  private func describe(_ block: BlockReference) -> String {
    var text = "blkref #\(block.id): rel \(block.locator)"
    if block.fork != .main { text += " fork \(block.fork.name)" }
    text += " blk \(block.block)"
    if block.hasImage { text += block.appliesImage ? " FPW" : " FPW for WAL verification" }
    return text
  }

  private func fixedWidth(_ lsn: LSN) -> String {
    let low = String(lsn.rawValue & 0xFFFF_FFFF, radix: 16, uppercase: true)
    return String(lsn.rawValue >> 32, radix: 16, uppercase: true) + "/"
      + String(repeating: "0", count: 8 - low.count) + low
  }

  private func pad(_ text: String, to width: Int, left: Bool = false) -> String {
    let spaces = String(repeating: " ", count: max(0, width - text.count))
    return left ? text + spaces : spaces + text
  }
}
