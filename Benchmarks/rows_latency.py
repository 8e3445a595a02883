"""Rows of single latencies: wake, new project, commit to the store, and pgBackRest beside ours."""
import os
import pathlib
import re
import shutil
import time

from exzo_client import PG_BIN, Project, psql
from measure import Background, pgbench, spread
from stock import StockServer, as_postgres, run


def wake(context):
    """A suspended endpoint: connect to first answer."""
    project, found = context.project, []
    context.load(project.socket_uri())
    for _ in range(context.parameters.small_samples):
        project.endpoint_action("suspend")
        started = time.monotonic()
        psql(project.uri, "SELECT count(*) FROM pgbench_branches", timeout=60)
        found.append(time.monotonic() - started)
    return spread(found)


def new_project(context):
    """Request to first answer."""
    found = []
    for number in range(context.parameters.small_samples):
        started = time.monotonic()
        project = Project(context.serve, name=f"new-{number}", wait=False)
        context.wait_for_answer(project.uri)
        found.append(time.monotonic() - started)
        context.serve.request("DELETE", f"/projects/{project.id}")
    return spread(found)


def commit_to_store(context):
    """Commit to WAL in the object store, as the histogram of serve and its agents tells it, under load."""
    uri = context.project.socket_uri()
    context.load(uri)
    load = Background(uri, 3600)
    time.sleep(min(60, context.parameters.seconds))
    load.stop()
    buckets = {}
    pattern = re.compile(r'^exzo_commit_to_store_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} ([\d.e+]+)')
    for line in context.serve.metrics().splitlines():
        match = pattern.match(line)
        if match:
            buckets[float(match[1])] = buckets.get(float(match[1]), 0) + float(match[2])
    total = max(buckets.values(), default=0)
    if not total:
        return {"skipped": "no metric exzo_commit_to_store_seconds"}

    def at(share):
        return min(bound for bound, count in buckets.items() if count >= share * total)
    return {"p50_at_most": at(0.5), "p99_at_most": at(0.99), "count": total}


def backrest(context):
    """pgBackRest's restore to a moment, same data, same disk: start to first answered query."""
    if not shutil.which("pgbackrest"):
        return {"skipped": "no pgbackrest: scripts/setup --bench"}
    place = pathlib.Path(context.directory) / "backrest"
    server = prepare_backrest(context, place)
    load = Background(server.uri, 3600)
    time.sleep(min(60, context.parameters.seconds))
    moment = psql(server.uri, "SELECT clock_timestamp()")
    time.sleep(2)
    load.stop()
    psql(server.uri, "SELECT pg_switch_wal()")
    server.stop()
    started = time.monotonic()
    run(as_postgres(["rm", "-rf", str(server.data)]))
    run(as_postgres(["mkdir", "-m", "700", str(server.data)]))
    run(as_postgres(["pgbackrest", *server.backrest, "--type=time", f"--target={moment}",
                     "--target-action=promote", f"--process-max={os.cpu_count()}", "restore"]))
    run(as_postgres([f"{PG_BIN}/pg_ctl", "-D", str(server.data), "-w", "-t", "3600", "-l",
                     f"{server.directory}/log", "start"]))
    psql(server.uri, context.random_rows())
    elapsed = time.monotonic() - started
    server.stop("immediate")
    return {"seconds": round(elapsed, 2), "scale": context.parameters.scale}


def prepare_backrest(context, place):
    """A server at the run's scale, archived and backed up by pgBackRest."""
    server = StockServer(place)
    place.mkdir(parents=True, exist_ok=True)
    config = place / "pgbackrest.conf"
    config.write_text(f"""[global]
repo1-path={place}/repo
log-path={place}
lock-path={place}/lock
spool-path={place}/spool
start-fast=y

[bench]
pg1-path={server.data}
pg1-port={server.port}
pg1-socket-path={place}
pg1-user=postgres
""", encoding="utf-8")
    options = ["--stanza=bench", f"--config={config}"]
    server.backrest = options
    server.settings += [
        "archive_mode=on", f"archive_command='pgbackrest {' '.join(options)} archive-push %p'"]
    server.create()
    pgbench(server.uri, ["-i", "-q", "-s", str(context.parameters.scale)])
    run(as_postgres(["pgbackrest", *options, "stanza-create"]))
    run(as_postgres(["pgbackrest", *options, "--type=full", "backup"]))
    return server
