#!/usr/bin/env python3
"""Side by side with plain PostgreSQL: one run, ratios and medians.

  bench.py [--short [SECONDS]] [--rows NAME,…] [--directory DIR] [--keep]

Writes results/bench-TIME.json and, for a full run, docs/benchmarks.md. The machine should do nothing else:
bytes written are those of the whole disk.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

import rows_dumps
import rows_latency
import rows_moments
import rows_platform
import rows_redo
import rows_store
import rows_throughput
from context import Context, Parameters
from exzo_client import PG_BIN, Failure

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Name, what is measured, what it must reach, the function.
ROWS = [
    ("tpcb", "TPC-B, 8 clients, unix sockets, closing checkpoint timed in",
     "TPS ≥ 0.95x (aim 1.1x); disk bytes a transaction ≤ 1.5x; WAL ≤ 1/4", rows_throughput.tpcb),
    ("tpcb-incompressible", "the same with incompressible filler",
     "history bytes a WAL byte ≤ 6", rows_throughput.tpcb_incompressible),
    ("tpcb-tls", "TPC-B, proxy with TLS against TCP with TLS", "≥ 0.9x", rows_throughput.tpcb_tls),
    ("select", "select-only, warm, unix sockets", "≥ 0.95x", rows_throughput.select_only),
    ("load", "bulk load (pgbench -i)", "≥ 0.7x", rows_throughput.bulk_load),
    ("cold-scan", "first scan with the page cache dropped", "≥ 0.8x", rows_throughput.cold_scan),
    ("moments", "branch at random moments, request to first answer",
     "running p50 ≤ 1.5 s, worst ≤ 4 s; stopped p50 ≤ 1.0 s, worst ≤ 2.5 s", rows_moments.branch_moments),
    ("on-branch", "TPC-B on such a branch against its parent", "≥ 0.7x within 60 s",
     rows_moments.tpcb_on_branch),
    ("branch-disk", "disk of a branch before its first write",
     "≤ 32 MB + 1.1 x 8 KiB x distinct blocks of its tail", rows_moments.branch_disk),
    ("tails", "a moment whose newest image of pages lies 10 s to 60 min of saturating TPC-B back, request to answer",
     "stopped p50 ≤ 0.6 s each, 60 min ≤ 1.3x of 10 s; running p50 ≤ 1.2 s", rows_redo.tails),
    ("fresh-branch", "select-only and a scan on a branch opened a moment ago, against its warm parent",
     "select-only ≥ 0.3x in the first 30 s, ≥ 0.9x after 5 min; scan ≥ 0.25x", rows_redo.fresh_branch),
    ("redo", "page redo, one worker, chains up to 10 records", "≥ 15,000 pages a second", rows_redo.redo),
    ("history-bytes", "history bytes kept a WAL byte, compressible and incompressible filler", "≤ 1.5",
     rows_redo.history_bytes),
    ("wake", "wake of a suspended endpoint", "p50 ≤ 0.3 s", rows_latency.wake),
    ("new-project", "new project, request to first answer", "≤ 3 s", rows_latency.new_project),
    ("commit-to-store", "commit to WAL in the object store", "p99 ≤ 1 s", rows_latency.commit_to_store),
    ("agent-memory", "agent's memory under load", "≤ 200 MB at scale 1000", rows_moments.agent_memory),
    ("backrest", "pgBackRest restore to a moment, same data", "printed beside ours", rows_latency.backrest),
    ("dump", "dump to the local store, directory format, 2 jobs, against pg_dump -Fd -j 2 to the same disk",
     "≥ 0.9x", rows_dumps.dump_directory),
    ("restore", "in-place restore under load, request to first answer on the old string", "p50 ≤ 2.5 s",
     rows_platform.restore_in_place),
    ("suspended", "100 projects with 5 branches each, all suspended",
     "idle CPU ≤ 2 %, serve ≤ 200 MB, list p99 ≤ 50 ms, wake p50 unchanged, no object-store writes",
     rows_platform.many_suspended),
    ("at-once", "20 branches of one parent requested at once, against one after the other",
     "≤ 1.0x, all correct", rows_platform.branches_at_once),
    ("select-tls", "select-only through the proxy with TLS, against PgBouncer with TLS in its place",
     "≥ 0.95x", rows_platform.select_proxy),
    ("pooled", "1,000 idle connections on a -pooler host", "serve grows ≤ 50 MB",
     rows_platform.pooled_connections),
    ("api", "API reads at 500 a second", "p99 ≤ 50 ms, no error", rows_platform.api_reads),
    ("s3-moments", "branch at a random moment from S3 (rclone serve s3 on loopback), cold caches, incompressible filler",
     "p50 ≤ 2 s, worst ≤ 5 s; bytes read ≤ 15 % of the database at scale 100", rows_store.s3_moments),
    ("s3-moments-1000", "the same at scale 1000", "≤ 1.3x of scale 100; bytes read ≤ 3 % of the database",
     rows_store.s3_moments_1000),
    ("object-store-durability", "TPC-B with object-store durability, 32 clients, a bucket at 20 ms a write, against local",
     "≥ 0.5x", rows_store.object_store_durability),
    ("attach", "attach of a server until its first branch answers, against pg_basebackup to the same disk", "≥ 0.8x",
     rows_store.attached_server),
    ("losses", "machines lost under load, 20 in each durability", "≤ 1 s lost in local, nothing in object-store",
     rows_store.machine_losses),
    ("scale-1000", "moments at scale 1000 against scale 100", "≤ 1.3x", rows_moments.scale_1000),
]


def machine():
    version = subprocess.run([f"{PG_BIN}/postgres", "--version"], text=True, capture_output=True,
                             check=False).stdout.strip()
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], text=True,
                            capture_output=True, check=False).stdout.strip()
    return {"cores": os.cpu_count(), "kernel": platform.release(), "postgres": version, "commit": commit,
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)}


def headline(result):
    """The row's single values; lists and runs stay in the JSON."""
    words = []
    for key, value in result.items():
        if isinstance(value, dict) and "p50" in value:
            words.append(f"{key}: p50 {value['p50']} s, worst {value['worst']} s")
        elif isinstance(value, (int, float, str)):
            words.append(f"{key.replace('_', ' ')} {value}")
    return "; ".join(words)


def write_page(results, parameters, facts):
    """docs/benchmarks.md: method and what this run found."""
    lines = [
        "# Benchmarks", "",
        "Written by `make bench`. Both sides run on one machine and one disk, turn about; figures are",
        "medians, ratios are Exzo over plain. The plain side is PostgreSQL of the same version at its",
        "defaults with the compute's `shared_buffers`; durability settings are defaults on both sides.",
        "Bytes written are those of the whole disk device, synced before and after.", "",
        f"Machine: {facts['cores']} cores, {facts['memory_gb']} GiB, Linux {facts['kernel']}, "
        f"{facts['postgres']}. Commit {facts['commit']}, {datetime.date.today()}.",
        f"Scale {parameters.scale}, {parameters.seconds} s a run, {parameters.rounds} rounds, "
        f"{parameters.moments} moments of {parameters.load_seconds} s of load.", "",
        "| Work | Must reach | Found |", "|---|---|---|"]
    for name, work, reach, _ in ROWS:
        if name in results:
            lines.append(f"| {work} | {reach} | {headline(results[name])} |")
    (ROOT / "docs" / "benchmarks.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--short", nargs="?", type=int, const=60, metavar="SECONDS")
    parser.add_argument("--rows", help="comma-separated: " + ", ".join(row[0] for row in ROWS))
    parser.add_argument("--directory", help="where both servers live (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="leave the directory behind")
    parser.add_argument("--scale", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--superuser", default="exzo_superuser", help="of the compute, on its socket")
    return parser.parse_args()


def run_rows(context, names):
    results, failed = {}, 0
    for name, work, reach, function in ROWS:
        if name not in names:
            continue
        started = time.monotonic()
        print(f"{name}: {work} (reach: {reach})", flush=True)
        try:
            results[name] = function(context)
        except (Failure, OSError, subprocess.SubprocessError) as error:
            results[name] = {"failed": str(error)}
            failed += 1
        print(f"  {headline(results[name])}  [{time.monotonic() - started:.0f} s]", flush=True)
    return results, failed


def main():
    options = arguments()
    names = options.rows.split(",") if options.rows else [row[0] for row in ROWS]
    unknown = set(names) - {row[0] for row in ROWS}
    if unknown:
        sys.exit(f"bench: no row {', '.join(sorted(unknown))}")
    parameters = Parameters.short(options.short) if options.short else Parameters()
    parameters.scale = options.scale or parameters.scale
    parameters.seed, parameters.superuser = options.seed, options.superuser
    directory = options.directory or tempfile.mkdtemp(prefix="exzo-bench-", dir="/var/tmp")
    context = Context(directory, parameters)
    try:
        results, failed = run_rows(context, names)
    finally:
        context.close()
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    facts = machine()
    place = ROOT / "results"
    place.mkdir(exist_ok=True)
    path = place / f"bench-{datetime.datetime.now():%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps({"machine": facts, "parameters": vars(parameters), "rows": results},
                               indent=2), encoding="utf-8")
    print(f"results: {path}")
    if not options.short and not options.rows and not failed:
        write_page(results, parameters, facts)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
