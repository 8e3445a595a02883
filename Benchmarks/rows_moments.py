"""Rows about opening the past: branches at random moments, their speed and their size."""
import time

from exzo_client import psql
from measure import Background, directory_bytes, drop_caches, pgbench, spread
from rows_throughput import tps_of


def record_marks(context, uri, seconds, load=None):
    """Takes (time, LSN) every few seconds while the load runs."""
    deadline = time.monotonic() + seconds
    step = max(1.0, seconds / 300)
    while time.monotonic() < deadline:
        if load:
            load.require_running()
        moment, lsn = psql(uri, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', "
                           "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), pg_current_wal_flush_lsn()").split("|")
        context.marks.append((moment, lsn))
        time.sleep(step)


def open_moments(context, cold=False, scale=None):
    """Opens branches at random marks, LSN and time alternating: request to first answered query."""
    project, latencies = context.project, []
    for number in range(context.parameters.moments):
        moment, lsn = context.random.choice(context.marks)
        query = context.random_rows(scale)
        if cold:
            drop_caches()
        started = time.monotonic()
        branch, _, uri = project.create_branch(
            **({"lsn": lsn} if number % 2 == 0 else {"timestamp": moment}))
        context.wait_for_answer(uri, query)
        latencies.append(time.monotonic() - started)
        project.delete_branch(branch)
    return spread(latencies)


def branch_moments(context, scale=None):
    """While saturating TPC-B still runs, then with it stopped; each also with a cold page cache."""
    parameters = context.parameters
    uri = context.project.socket_uri()
    context.load(uri, scale)
    context.marks.clear()
    # Long enough for the recording and for all openings; ended by us.
    load = Background(uri, parameters.load_seconds + 7200)
    try:
        record_marks(context, uri, parameters.load_seconds, load)
        result = {"running": open_moments(context, scale=scale),
                  "running_cold": open_moments(context, cold=True, scale=scale)}
        load.require_running()
    finally:
        load.stop()
    result["stopped"] = open_moments(context, scale=scale)
    result["stopped_cold"] = open_moments(context, cold=True, scale=scale)
    return result


def scale_1000(context):
    """The same at scale 1000 (about 15 GB), as ratios to scale 100."""
    import shutil
    free = shutil.disk_usage(context.directory).free
    if free < 60 << 30:
        return {"skipped": f"needs 60 GB free, there are {free >> 30}"}
    small = branch_moments(context)
    large = branch_moments(context, scale=1000)
    result = {f"{key}_p50_ratio": round(large[key]["p50"] / small[key]["p50"], 2) for key in small}
    return {**result, "scale_100": small, "scale_1000": large, **agent_memory(context)}


def require_marks(context):
    """Marks from a short load of our own where no row before has taken any."""
    if not context.marks:
        uri = context.project.socket_uri()
        context.load(uri)
        load = Background(uri, 3600)
        try:
            record_marks(context, uri, context.parameters.load_seconds, load)
        finally:
            load.stop()


def tpcb_on_branch(context):
    """TPC-B on a branch opened a moment ago against its parent alone, by ten-second windows."""
    require_marks(context)
    project = context.project
    seconds = min(120, context.parameters.seconds)
    options = ["-n", "-c", "8", "-j", "2"]
    parent = tps_of(pgbench(project.uri, [*options, "-T", str(seconds)]))
    branch, _, uri = project.create_branch(timestamp=context.random.choice(context.marks)[0])
    context.wait_for_answer(uri)
    ratios = [round(tps_of(pgbench(uri, [*options, "-T", "10"])) / parent, 3)
              for _ in range(max(1, seconds // 10))]
    project.delete_branch(branch)
    within = next((10 * (i + 1) for i, ratio in enumerate(ratios) if ratio >= 0.7), None)
    return {"parent_tps": parent, "ratio_by_ten_seconds": ratios, "seconds_to_0.7": within}


def branch_disk(context):
    """Disk that a branch takes before its first write."""
    require_marks(context)
    project, sizes = context.project, []
    for _ in range(min(5, context.parameters.moments)):
        before = directory_bytes(context.serve.data)
        branch, _, uri = project.create_branch(lsn=context.random.choice(context.marks)[1])
        context.wait_for_answer(uri)
        sizes.append(directory_bytes(context.serve.data) - before)
        project.delete_branch(branch)
    return {"bytes": sorted(sizes)}


def agent_memory(context):
    """Resident memory of the largest agent, Postgres aside, under load."""
    import glob
    uri = context.project.socket_uri()
    load = Background(uri, 3600)
    peak = 0
    try:
        deadline = time.monotonic() + min(60, context.parameters.seconds)
        while time.monotonic() < deadline:
            for path in glob.glob("/proc/[0-9]*/cmdline"):
                try:
                    with open(path, "rb") as file:
                        words = file.read().split(b"\0")
                    if len(words) > 1 and words[0].endswith(b"exzo") and words[1] == b"agent":
                        with open(path.replace("cmdline", "smaps_rollup"), encoding="ascii") as file:
                            rss = next(line for line in file if line.startswith("Rss:"))
                        peak = max(peak, int(rss.split()[1]) * 1024)
                except (OSError, StopIteration):
                    continue  # ended while we looked
            time.sleep(1)
    finally:
        load.stop()
    return {"agent_peak_rss_bytes": peak}
