import PostgresFormat

/// A place in WAL where blocks of a relation's fork went away.
public struct RelationCut: Hashable, Sendable {
  public var locator: RelFileLocator
  public var fork: ForkNumber
  /// Blocks that stayed.
  public var blocks: UInt32
}

extension ChainReader {
  /// Cuts of relations by records that start in a range; databases that were dropped are left out.
  ///
  /// Reads the chunks' indices only.
  /// - Throws: ``HistoryError``, as ``chain(of:from:to:)``.
  public func relationCuts(from: LSN, to: LSN) throws -> [RelationCut] {
    try withSnapshot { snapshot in
      var result: Set<RelationCut> = []
      for (place, piece) in snapshot.pieces.enumerated() where piece.range.overlaps(from..<to) {
        let end = min(piece.range.upperBound, to)
        for cut in try snapshot.indexed(place, cache).cuts
        where cut.locator.relation != 0 && cut.lsn >= from && cut.lsn < end {
          for fork in ForkNumber.allCases where cut.forks.contains(fork) {
            result.insert(
              RelationCut(
                locator: cut.locator, fork: fork,
                blocks: BlockCut.length(of: fork, mainBlocks: cut.mainBlocks)))
          }
        }
      }
      return Array(result)
    }
  }
}
