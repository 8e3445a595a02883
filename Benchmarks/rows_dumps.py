"""The row of dumps: ours into the local store against pg_dump by hand to the same disk."""
import shutil
import statistics
import time

from exzo_client import PG_BIN
from stock import as_postgres, run


def by_hand(context, number):
    """`pg_dump -Fd -j 2` of the plain server; seconds."""
    target = context.directory / "plain" / f"dump-{number}"
    started = time.monotonic()
    run(as_postgres([f"{PG_BIN}/pg_dump", "-Fd", "-j", "2", "-f", str(target), context.plain.uri]))
    seconds = time.monotonic() - started
    size = sum(file.stat().st_size for file in target.iterdir())
    shutil.rmtree(target)
    return seconds, size


def ours(context):
    """A dump of the branch's head, from the request to the end of its operation; seconds."""
    serve, project = context.serve, context.project
    started = time.monotonic()
    answer = serve.request("POST", f"/projects/{project.id}/dumps", {
        "branches": [project.branch], "databases": ["exzodb"], "format": "directory", "jobs": 2})
    serve.wait(project.id, answer["operations"], timeout=3600)
    seconds = time.monotonic() - started
    path = f"/projects/{project.id}/dumps/{answer['dumps'][0]['id']}"
    size = serve.request("GET", path)["dump"]["size_bytes"]
    serve.request("DELETE", path)
    return seconds, size


def dump_directory(context):
    """Turn about; medians, and the ratio of speeds."""
    context.load(context.project.socket_uri())
    context.load(context.plain.uri)
    rounds = max(3, context.parameters.rounds)
    plain, exzo = [], []
    for number in range(rounds):
        plain.append(by_hand(context, number))
        exzo.append(ours(context))
    medians = [statistics.median(seconds for seconds, _ in side) for side in (plain, exzo)]
    return {"ratio": round(medians[0] / medians[1], 2), "plain_seconds": round(medians[0], 2),
            "exzo_seconds": round(medians[1], 2), "plain_bytes": plain[-1][1], "exzo_bytes": exzo[-1][1],
            "runs": {"plain": [round(s, 2) for s, _ in plain], "exzo": [round(s, 2) for s, _ in exzo]}}
