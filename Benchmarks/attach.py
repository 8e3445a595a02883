#!/usr/bin/env python3
"""`attach` until the first branch answers, against pg_basebackup of the same server to the same disk.

  attach.py [--scale N] [--rounds N] [--directory DIR] [--keep]

Turn about: `pg_basebackup -c fast -X stream` into a directory of its own, over the connection that attach has (TCP with TLS) and over
the server's own socket, and the API's attach followed by a branch at head whose first query has answered. Each attached project is
detached afterwards. Prints JSON, both ratios; reach: 0.8x over the same connection.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

from exzo_client import PG_BIN, Failure, Serve, psql
from stock import StockServer, as_postgres, run


def source(directory, scale):
    """A plain server with a database `app`, reachable over TLS on 127.0.0.1."""
    server = StockServer(directory).create()
    with open(server.data / "pg_hba.conf", "a", encoding="utf-8") as file:
        file.write("hostssl replication all 127.0.0.1/32 scram-sha-256\n")
    psql(server.uri, "SELECT pg_reload_conf()")
    psql(server.uri, "CREATE DATABASE app")
    run([f"{PG_BIN}/pgbench", "-i", "-q", "-s", str(scale), "-h", str(server.directory),
         "-p", str(server.port), "-U", "postgres", "app"])
    psql(server.uri, "CHECKPOINT")
    return server


def by_hand(uri, target):
    started = time.monotonic()
    run(as_postgres([f"{PG_BIN}/pg_basebackup", "-c", "fast", "-X", "stream", "-D", str(target), "-d", uri]))
    seconds = time.monotonic() - started
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    shutil.rmtree(target)
    return seconds, size


def attached(serve, server):
    uri = f"postgresql://postgres:bench@127.0.0.1:{server.port}/app?sslmode=require"
    started = time.monotonic()
    answer = serve.request("POST", "/projects/attach", {"source": {"connection_string": uri}})
    project = answer["project"]["id"]
    serve.wait(project, answer["operations"], timeout=3600)
    copied = time.monotonic() - started
    branch = serve.request("POST", f"/projects/{project}/branches", {"endpoints": [{"type": "read_write"}]})
    serve.wait(project, branch["operations"], timeout=600)
    psql(branch["connection_uris"][0]["connection_uri"], "SELECT count(*) FROM pgbench_branches")
    seconds = time.monotonic() - started
    serve.wait(project, serve.request("POST", f"/projects/{project}/detach")["operations"])
    serve.request("DELETE", f"/projects/{project}")
    return seconds, copied


def measure(parameters, directory):
    directory.chmod(0o755)
    server = source(directory / "source", parameters.scale)
    serve = Serve(directory / "exzo", options=["--attach-networks", "127.0.0.1"]).start()
    plain, local, exzo = [], [], []
    try:
        room = directory / "copies"
        room.mkdir()
        shutil.chown(room, "postgres", "postgres")
        for number in range(parameters.rounds):
            plain.append(by_hand(server.tls_uri, room / str(number)))
            local.append(by_hand(server.uri, room / str(number)))
            exzo.append(attached(serve, server))
    finally:
        serve.stop()
        server.stop()
    by_tls, by_socket, ours = [statistics.median(seconds for seconds, _ in side) for side in (plain, local, exzo)]
    return {"scale": parameters.scale, "ratio": round(by_tls / ours, 2),
            "ratio_to_socket": round(by_socket / ours, 2), "plain_seconds": round(by_tls, 2),
            "plain_socket_seconds": round(by_socket, 2), "exzo_seconds": round(ours, 2),
            "plain_bytes": plain[-1][1],
            "runs": {"plain": [round(s, 2) for s, _ in plain],
                     "plain_socket": [round(s, 2) for s, _ in local],
                     "exzo": [round(s, 2) for s, _ in exzo],
                     "exzo_copied": [round(c, 2) for _, c in exzo]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true")
    parameters = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="exzo-attach-", dir=parameters.directory))
    try:
        print(json.dumps(measure(parameters, directory), indent=2))
    except Failure as failure:
        sys.exit(f"attach.py: {failure}")
    finally:
        if not parameters.keep:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
