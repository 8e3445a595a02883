"""Rows where both sides do the same work, turn about, and their medians are divided."""
import os
import pathlib
import time

from exzo_client import psql
from measure import directory_bytes, drop_caches, median, pgbench, timed, timed_pgbench
import re

# TPC-B with a filler that does not compress: blanks would flatter every figure of size.
INCOMPRESSIBLE = """\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta, filler = substr(md5(random()::text) ||
  md5(random()::text) || md5(random()::text), 1, 84) WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler)
  VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP, substr(md5(random()::text), 1, 22));
END;
"""


def store_bytes(context):
    """What the object store holds: `DATA/objects` unless serve was told otherwise."""
    return directory_bytes(os.environ.get("EXZO_BENCH_STORE", context.serve.data / "objects"))


def tpcb(context, extra=()):
    """TPC-B over unix sockets, with bytes written to the disk a transaction and WAL bytes."""
    parameters = context.parameters
    runs = {"plain": [], "exzo": []}
    kept = []
    for name, uri, _ in context.sides():
        context.load(uri)
    for _ in range(parameters.rounds):
        for name, uri, checkpoint in context.sides():
            before = store_bytes(context)
            run = timed_pgbench(uri, context.directory, parameters.seconds, extra=extra,
                                checkpoint=checkpoint)
            runs[name].append(run)
            if name == "exzo":
                kept.append((store_bytes(context) - before) / run.wal_bytes)
    plain, exzo = runs["plain"], runs["exzo"]

    def ratio(measure):
        return round(median([measure(r) for r in exzo]) / median([measure(r) for r in plain]), 3)

    return {
        "tps_ratio": ratio(lambda r: r.tps),
        "first_minute_ratio": ratio(lambda r: r.first_minute_tps),
        "disk_bytes_per_transaction_ratio": ratio(lambda r: r.disk_bytes / r.transactions),
        "wal_bytes_per_transaction_ratio": ratio(lambda r: r.wal_bytes / r.transactions),
        "history_bytes_per_wal_byte": round(median(kept), 2),
        "plain": [run.as_dict() for run in plain], "exzo": [run.as_dict() for run in exzo],
    }


def tpcb_incompressible(context):
    """The same with incompressible filler: for the history's size a WAL byte."""
    script = pathlib.Path(context.directory) / "incompressible.sql"
    script.write_text(INCOMPRESSIBLE, encoding="utf-8")
    return tpcb(context, extra=["-f", str(script), "-D", f"scale={context.parameters.scale}"])


def tps_of(text):
    return float(re.search(r"tps = ([\d.]+) \(without initial", text).group(1))


def turn_about(context, sides, options, seconds):
    """Median TPS of each side and their ratio."""
    found = {name: [] for name, _ in sides}
    for _ in range(context.parameters.rounds):
        for name, uri in sides:
            found[name].append(tps_of(pgbench(
                uri, ["-n", "-c", "8", "-j", "2", "-T", str(seconds), *options])))
    return {"tps_ratio": round(median(found["exzo"]) / median(found["plain"]), 3), **found}


def tpcb_tls(context):
    """TPC-B through the proxy with TLS against plain over TCP with TLS."""
    sides = [("plain", context.plain.tls_uri), ("exzo", context.project.uri)]
    for _, uri, _ in context.sides():
        context.load(uri)
    return turn_about(context, sides, [], min(300, context.parameters.seconds))


def select_only(context):
    """Select-only, warm, over unix sockets."""
    sides = [(name, uri) for name, uri, _ in context.sides()]
    for _, uri in sides:
        context.load(uri)
        psql(uri, "SELECT sum(abalance) FROM pgbench_accounts", timeout=600)
    return turn_about(context, sides, ["-S"], min(120, context.parameters.seconds))


def bulk_load(context):
    """`pgbench -i` at the run's scale with its closing checkpoint."""
    found = {"plain": [], "exzo": []}
    for _ in range(context.parameters.rounds):
        for name, uri, checkpoint in context.sides():
            def work(uri=uri, checkpoint=checkpoint):
                pgbench(uri, ["-i", "-q", "-s", str(context.parameters.scale)])
                checkpoint()
            found[name].append(round(timed(work), 2))
            context._loaded.add((uri, context.parameters.scale))
    return {"speed_ratio": round(median(found["plain"]) / median(found["exzo"]), 3),
            "seconds": found}


def cold_scan(context):
    """First sequential scan of the largest table with shared buffers and page cache dropped."""
    found = {"plain": [], "exzo": []}
    for _, uri, checkpoint in context.sides():
        context.load(uri)
        checkpoint()
    for _ in range(context.parameters.rounds):
        for name in found:
            if name == "plain":
                context.plain.stop()
                context.plain.start()
            else:
                context.project.endpoint_action("restart")
            uri = next(u for n, u, _ in context.sides() if n == name)
            context.wait_for_answer(uri)
            drop_caches()
            found[name].append(round(timed(lambda u=uri: psql(
                u, "SET max_parallel_workers_per_gather = 0; SELECT count(*), sum(abalance) "
                "FROM pgbench_accounts", timeout=1800)), 2))
            time.sleep(0.1)
    return {"speed_ratio": round(median(found["plain"]) / median(found["exzo"]), 3),
            "seconds": found}
