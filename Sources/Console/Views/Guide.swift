/// A page of the documentation that is built in.
struct Guide {
  var name: String
  var title: String
  var summary: String
  var html: String

  static let all = [restore, branches, reading, backups, connect, costs]

  private static let restore = Guide(
    name: "restore", title: "Get back what was lost",
    summary: "A dropped table, a bad deploy, rows that were deleted.",
    html: """
      <p>Every change is kept for the retention window. To have a table back:</p>
      <ol><li>Open <b>Timeline</b>. What was dropped, emptied or mass-deleted stands in the list, by name.</li>
      <li>Choose <b>Just before this</b>. The moment ends right before the accident's commit.</li>
      <li>Choose what to do there: <b>Branch from here</b> leaves everything as it is and gives you the old state
      beside it. <b>Restore to here</b> puts the branch itself back, under the same connection string; what it was
      until now stays as a branch of its own. <b>Recover one table</b> brings that table alone.</li></ol>
      <p>With the command line:</p>
      <pre>exzo branches create --name before --parent main@0/1A2B3C
      exzo branches restore main ^self@0/1A2B3C --preserve-under-name main-before-restore</pre>
      """)

  private static let branches = Guide(
    name: "branches", title: "Branches", summary: "A copy of everything, in about a second.",
    html: """
      <p>A branch starts as the state of another at a moment, and goes its own way from there. It shares what it
      has in common with its parent, so that it costs what it changes. A branch has a connection string of its own.</p>
      <p>Restore, reset and rename move the branch's name to another history; histories themselves are never
      rewritten. What a restore replaced stays under the name you gave, else for 7 days as a deleted branch.</p>
      """)

  private static let reading = Guide(
    name: "past", title: "Read the past", summary: "SQL at any moment, without a branch.",
    html: """
      <p>In the SQL editor choose a moment: the session sees the database as it was, with your own rights, and
      cannot write. Any PostgreSQL client can do the same:</p>
      <pre>psql 'postgresql://…/db?options=endpoint%3Dbr-… exzo_timestamp:2026-11-23T10:00:00Z'</pre>
      <p>On the timeline, <b>Compare schema</b> and <b>Compare rows</b> show what differs between then and now.</p>
      """)

  private static let backups = Guide(
    name: "backups", title: "Backups", summary: "What is automatic, and what is not.",
    html: """
      <p><b>Automatic</b>: all changes within the retention window, streamed to the object store within about a
      second. <b>Snapshots</b> keep a moment beyond the window; a schedule makes them by itself, and they cost what they
      alone keep. <b>Dumps</b> are PostgreSQL's own archives, for taking elsewhere.</p>
      <p><b>Not automatic</b>: a copy of the object store's master key. Keep one elsewhere; without it an encrypted
      store opens for nobody.</p>
      """)

  private static let connect = Guide(
    name: "connect", title: "Connect",
    summary: "Any PostgreSQL driver; the server wakes by itself.",
    html: """
      <p>The dashboard has the connection string for psql, environment variables, psycopg and JDBC. A suspended
      compute wakes when somebody connects. Add <code>-pooler</code> to the endpoint's name for pooled
      connections.</p>
      """)

  private static let costs = Guide(
    name: "billing", title: "What is counted", summary: "Compute, storage, transfer.",
    html: """
      <p>Compute time while a server runs, by its size; bytes written; bytes sent to clients, by endpoint and kind of
      session, so that a <code>pg_dump</code> shows as one; the databases' size and the history's. The estimate on the
      billing page shows every sum.</p>
      """)
}
