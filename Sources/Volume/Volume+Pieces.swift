extension Volume {
  /// Drops pieces of blocks that were written through `handle` and whose rest has not come, and
  /// tells the observer. Does nothing where there are none.
  ///
  /// For a writer that is known to be gone while its handle lives on for a moment: whoever looks
  /// next must not see half a block.
  public func dropPieces(of handle: OpenHandle) {
    let found: (FileID, [Range<UInt64>])? = withWriter {
      withState { state in
        guard let file = state.handles[handle.rawValue], let node = state.nodes[file] else {
          return nil
        }
        return (file, node.dropStaged { $0.handle == handle.rawValue })
      }
    }
    if let (file, dropped) = found { reportDropped(file, dropped) }
  }
}
