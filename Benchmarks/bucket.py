"""A real S3 server on loopback (`rclone serve s3`), and a proxy before it whose writes take their time."""
import asyncio
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

from exzo_client import Failure, free_port

ACCESS_KEY, SECRET_KEY = "exzo-bench", "exzo-bench-secret"
# By default rclone reads a whole object to hash it whenever one of its ranges is asked for, and reads 16 MB ahead of
# each range, both with the processors that are measured here. No bucket does that.
FOR_READS = ["--etag-hash", "", "--buffer-size", "0"]
# But a bucket answers a write with the MD5 of what it holds; where it does not, each write is read back.
FOR_WRITES = ["--buffer-size", "0"]


def program():
    """The server's program: `EXZO_RCLONE`, or where scripts/setup puts it, or in `PATH`."""
    home = os.environ.get("HOME", "/root")
    for path in [os.environ.get("EXZO_RCLONE"), f"{home}/.cache/exzo/tools/bin/rclone", shutil.which("rclone")]:
        if path and os.access(path, os.X_OK):
            return path
    raise Failure("no rclone: scripts/setup installs it, or set EXZO_RCLONE")


def wait_for_port(port, process, what, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"{what} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise Failure(f"{what} does not listen on port {port}")


class Bucket:
    """One bucket below DIRECTORY; with `delay`, each write is answered that many seconds later."""

    def __init__(self, directory, delay=0.0):
        self.directory = pathlib.Path(directory)
        self.delay = delay
        self.server = self.proxy = None

    def start(self):
        (self.directory / "bucket").mkdir(parents=True)
        port = free_port()
        self.server = subprocess.Popen(
            [program(), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}",
             "--vfs-cache-mode", "off", "--dir-cache-time", "1s", "--config", "/dev/null",
             *(FOR_WRITES if self.delay else FOR_READS), str(self.directory)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(port, self.server, "rclone serve s3")
        if self.delay:
            front = free_port()
            self.proxy = subprocess.Popen(
                [sys.executable, __file__, str(front), str(port), str(self.delay)], stdin=subprocess.DEVNULL)
            wait_for_port(front, self.proxy, "the slow proxy")
            port = front
        # Agents and serve take them from the environment, and from nowhere else.
        os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
        self.url = f"s3://bucket/exzo?endpoint=http://127.0.0.1:{port}&region=us-east-1"
        return self

    def bytes_sent(self):
        """Bytes that the server has written to its sockets, and, far fewer while branches open, to its disk."""
        with open(f"/proc/{self.server.pid}/io", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("wchar:")).split()[1])

    def stop(self):
        for process in (self.proxy, self.server):
            if process and process.poll() is None:
                process.kill()
                process.wait()


async def forward(reader, writer, upstream, delay):
    """One connection: what comes is handed on at once, answers to writes after the delay."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", upstream)
    state = {"method": b"", "is_answered": True}

    async def requests():
        while data := await reader.read(1 << 18):
            if state["is_answered"]:
                state["method"], state["is_answered"] = data.split(b" ", 1)[0], False
            far_writer.write(data)
            await far_writer.drain()

    async def answers():
        while data := await far_reader.read(1 << 18):
            if not state["is_answered"]:
                state["is_answered"] = True
                if state["method"] in (b"PUT", b"POST", b"DELETE"):
                    await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()

    tasks = [asyncio.ensure_future(requests()), asyncio.ensure_future(answers())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # resets are the end of a connection
        for one in (writer, far_writer):
            one.close()


async def serve_slowly(port, upstream, delay):
    server = await asyncio.start_server(
        lambda reader, writer: forward(reader, writer, upstream, delay), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_slowly(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
