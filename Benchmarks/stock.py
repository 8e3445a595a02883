"""A plain PostgreSQL server at its defaults, on the same disk: the other side of every ratio."""
import os
import pathlib
import subprocess

from exzo_client import PG_BIN, Failure, free_port, psql


def as_postgres(command):
    if os.getuid() == 0:
        # Root's home cannot be read, and libpq looks for certificates in it.
        return ["env", "HOME=/nonexistent", "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                *command]
    return command


def run(command, **options):
    result = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL,
                            cwd="/", check=False, **options)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


class StockServer:
    """Defaults of PostgreSQL (fsync, full_page_writes, synchronous_commit on) but for its socket."""

    def __init__(self, directory, settings=()):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.port = free_port()
        self.settings = list(settings)

    @property
    def uri(self):
        return f"host={self.directory} port={self.port} user=postgres dbname=postgres"

    @property
    def tls_uri(self):
        return f"host=127.0.0.1 port={self.port} user=postgres password=bench dbname=postgres sslmode=require"

    def create(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            run(["chown", "postgres:postgres", str(self.directory)])
        run(as_postgres([f"{PG_BIN}/initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust",
                         "-k", "--locale=C", "-E", "UTF8"]))
        run(as_postgres(["openssl", "req", "-new", "-x509", "-days", "30", "-nodes", "-subj", "/CN=localhost",
                         "-keyout", f"{self.data}/server.key", "-out", f"{self.data}/server.crt"]))
        os.chmod(self.data / "server.key", 0o600)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\n".join([
                "listen_addresses='127.0.0.1'", f"port={self.port}", "ssl=on",
                f"unix_socket_directories='{self.directory}'", *self.settings]) + "\n")
        hba = self.data / "pg_hba.conf"
        hba.write_text("local all all trust\nlocal replication all trust\n"
                       "hostssl all all 127.0.0.1/32 scram-sha-256\n")
        return self.start()

    def start(self):
        run(as_postgres([f"{PG_BIN}/pg_ctl", "-D", str(self.data), "-w", "-l",
                         f"{self.directory}/log", "start"]), env=os.environ)
        psql(self.uri, "ALTER ROLE postgres PASSWORD 'bench'")
        return self

    def stop(self, mode="fast"):
        run(as_postgres([f"{PG_BIN}/pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop"]))
