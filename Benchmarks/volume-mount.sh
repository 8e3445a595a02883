#!/bin/bash
# Compares PostgreSQL on a mounted volume with PostgreSQL on a plain directory of the same disk, turn
# about, and prints ratios. Run as root; needs postgresql-15 and a release build of VolumeMounting.
#
#   Benchmarks/volume-mount.sh [SCALE] [SECONDS] [ROUNDS] [CLIENTS]
#
# The plain side runs at its defaults (full_page_writes=on), the mounted one with full_page_writes=off, as
# a compute does. Both keep fsync and synchronous_commit on, and have their WAL on the plain disk.
set -euo pipefail
scale=${1:-50} seconds=${2:-60} rounds=${3:-3} clients=${4:-8}
here=$(cd "$(dirname "$0")/.." && pwd)
binaries=/usr/lib/postgresql/15/bin
mounter=${MOUNTER:-$here/.build/release/VolumeMounting}
work=$(mktemp -d "${EXZO_BENCH_DIR:-/var/tmp}/exzo-bench-XXXXXX")
chmod 755 "$work"
settings=(-c listen_addresses= -c shared_buffers="${SHARED_BUFFERS:-256MB}" -c max_wal_size=4GB)
mount_pid=

as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

cleanup() {
  for side in plain mounted; do
    if [ -e "$work/$side/data/postmaster.pid" ]; then
      as_postgres $binaries/pg_ctl -D "$work/$side/data" -m immediate stop >/dev/null || true
    fi
  done
  if [ -n "$mount_pid" ]; then
    kill "$mount_pid" 2>/dev/null || true
    wait "$mount_pid" 2>/dev/null || true
  fi
  if mountpoint -q "$work/mounted/data"; then umount -l "$work/mounted/data"; fi
  rm -rf "$work"
}
trap cleanup EXIT

start() { # side
  local own=()
  if [ "$1" = mounted ]; then own=(-c full_page_writes=off); fi
  as_postgres $binaries/pg_ctl -D "$work/$1/data" -l "$work/$1/log" -w \
    -o "${settings[*]} ${own[*]} -c unix_socket_directories=$work/$1" start >/dev/null
}
stop() { as_postgres $binaries/pg_ctl -D "$work/$1/data" -w -m fast stop >/dev/null; }
bench() { # side options…: prints transactions a second
  local side=$1
  shift
  $binaries/pgbench -h "$work/$side" -U postgres "$@" postgres 2>/dev/null |
    sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

for side in plain mounted; do
  mkdir -p "$work/$side/data" "$work/$side/volume"
  chown -R postgres:postgres "$work/$side"
done
"$mounter" "$work/mounted/volume" "$work/mounted/data" ${THREADS:+--threads "$THREADS"} \
  >"$work/mounter.log" 2>&1 &
mount_pid=$!
until mountpoint -q "$work/mounted/data"; do
  kill -0 $mount_pid || { cat "$work/mounter.log"; exit 1; }
  sleep 0.1
done
for side in plain mounted; do
  as_postgres $binaries/initdb -D "$work/$side/data" -X "$work/$side/wal" -U postgres -A trust -k \
    --locale=C -E UTF8 >/dev/null
done

declare -A figure
note() { # side work value
  figure[$1,$2]="${figure[$1,$2]:-} $3"
  printf '%-8s %-14s %s\n' "$1" "$2" "$3"
}
for side in plain mounted; do
  start $side
  before=$(milliseconds)
  bench $side -i -q -s "$scale" >/dev/null
  note $side load-ms $(($(milliseconds) - before))
  stop $side
done
for ((round = 1; round <= rounds; round++)); do
  order="plain mounted"
  if ((round % 2 == 0)); then order="mounted plain"; fi
  for side in $order; do
    start $side
    note $side tpcb "$(bench $side -n -j 2 -c "$clients" -T "$seconds")"
    before=$(milliseconds)
    psql -qX -h "$work/$side" -U postgres -c CHECKPOINT
    note $side checkpoint-ms $(($(milliseconds) - before))
    stop $side
    start $side
    bench $side -n -S -j 2 -c "$clients" -T 5 >/dev/null
    note $side select-only "$(bench $side -n -S -j 2 -c "$clients" -T $((seconds / 2)))"
    stop $side
  done
done

median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
for work_done in load-ms tpcb select-only checkpoint-ms; do
  # Unquoted: the figures of the rounds are separate words.
  plain=$(median ${figure[plain,$work_done]})
  mounted=$(median ${figure[mounted,$work_done]})
  case $work_done in
  *-ms) ratio=$(echo "scale=3; $plain / $mounted" | bc) ;;
  *) ratio=$(echo "scale=3; $mounted / $plain" | bc) ;;
  esac
  printf '%-14s plain %10s  mounted %10s  mounted/plain (more is better) %s\n' \
    $work_done "$plain" "$mounted" "$ratio"
done
cat "$work/mounter.log"
