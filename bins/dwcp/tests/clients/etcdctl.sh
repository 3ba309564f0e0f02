#!/bin/bash
# Drives an etcd v3 endpoint with Debian's etcdctl, unmodified.
#
# Usage: etcdctl.sh HOST:PORT[,HOST:PORT...]
#
# Each step prints one line; the first that fails ends the run with what was expected and
# what came. Needs etcdctl (Debian: etcd-client). Where Debian's etcd server is installed too, the
# snapshot is restored into one and read back from it.
set -euo pipefail
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$1
run=run-$$-$RANDOM
scratch=$(mktemp -d)
background=()
cleanup() {
    for pid in "${background[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

ctl() { timeout 20 etcdctl --dial-timeout=5s --command-timeout=15s "$@"; }
# at ENDPOINT COMMAND...: the environment is shadowed by --endpoints, which etcdctl refuses
at() { local ETCDCTL_ENDPOINTS=$1 && shift && "$@"; }
step() { printf 'ok      %s\n' "$1"; }
fail() {
    printf 'FAILED  %s\n' "$1" >&2
    exit 1
}
# same NAME WANT GOT
same() { [[ $3 == "$2" ]] && step "$1" || fail "$1: wanted '$2', got '$3'"; }
# has NAME PART GOT
has() { [[ $3 == *"$2"* ]] && step "$1" || fail "$1: wanted something with '$2', got '$3'"; }
# soon NAME PART FILE: waits up to 15 s for a text in a file
soon() {
    for _ in $(seq 150); do
        grep -qF -- "$2" "$3" 2>/dev/null && step "$1" && return
        sleep 0.1
    done
    fail "$1: '$2' did not come; there is: $(cat "$3")"
}

# --- keys -------------------------------------------------------------------------
same "put" OK "$(ctl put "$run/a" 1)"
same "get" 1 "$(ctl get "$run/a" --print-value-only)"
ctl put "$run/b" 2 >/dev/null
ctl put "$run/c" 3 >/dev/null
same "get --prefix --keys-only" "$run/a $run/b $run/c" "$(ctl get --prefix --keys-only "$run/" | xargs)"
same "get --order=DESCEND --limit=2" "3 2" "$(ctl get --prefix --order=DESCEND --limit=2 --print-value-only "$run/" | xargs)"
same "get a range" "1 2" "$(ctl get --print-value-only "$run/a" "$run/c" | xargs)"
same "get --from-key" "3" "$(ctl get --from-key --limit=1 --print-value-only "$run/c")"
same "put --prev-kv" "OK $run/a 1" "$(ctl put --prev-kv "$run/a" 4 | xargs)"
same "get --consistency=s" 4 "$(ctl get --consistency=s --print-value-only "$run/a")"
same "del --prev-kv" "1 $run/c 3" "$(ctl del --prev-kv "$run/c" | xargs)"
same "del of nothing" 0 "$(ctl del "$run/nothing")"
head -c 1000000 /dev/zero | tr '\0' 'x' >"$scratch/large"
same "put of a million bytes" OK "$(ctl put "$run/large" <"$scratch/large")"
same "get of a million bytes" 1000000 "$(ctl get --print-value-only "$run/large" | tr -d '\n' | wc -c)"
head -c 1600000 /dev/zero | tr '\0' 'x' >"$scratch/larger"
has "put of too much" "etcdserver: request is too large" "$(ctl put "$run/large" <"$scratch/larger" 2>&1 || true)"

txn=$(printf 'value("%s/a") = "4"\nversion("%s/none") = "0"\n\nput %s/a 5\nget %s/a\n\nput %s/a bad\n\n' "$run" "$run" "$run" "$run" "$run" | ctl txn)
same "txn, taken" "SUCCESS OK $run/a 5" "$(echo "$txn" | xargs)"
txn=$(printf 'mod("%s/a") = "1"\n\nput %s/a bad\n\nget %s/a\n\n' "$run" "$run" "$run" | ctl txn)
same "txn, not taken" "FAILURE $run/a 5" "$(echo "$txn" | xargs)"

# --- watches ----------------------------------------------------------------------
revision=$(ctl get "$run/a" -w json | sed -E 's/.*"mod_revision":([0-9]+).*/\1/')
stdbuf -oL etcdctl watch --prefix "$run/w" >"$scratch/watch" 2>&1 &
background+=($!)
stdbuf -oL etcdctl watch --rev="$revision" --prev-kv "$run/a" >"$scratch/past" 2>&1 &
background+=($!)
soon "watch from a past revision" 5 "$scratch/past"
for _ in $(seq 50); do # a watch that has not begun yet sees nothing; it has when it sees this
    ctl put "$run/w0" begun >/dev/null
    grep -q begun "$scratch/watch" && break
    sleep 0.1
done
ctl put "$run/w1" first >/dev/null
ctl del "$run/w1" >/dev/null
soon "watch sees a put" first "$scratch/watch"
soon "watch sees a delete" DELETE "$scratch/watch"
ctl put "$run/a" 6 >/dev/null
soon "watch goes on from the past" 6 "$scratch/past"

# --- leases -----------------------------------------------------------------------
lease=$(ctl lease grant 100 | sed -E 's/lease ([0-9a-f]+) granted.*/\1/')
ctl put --lease="$lease" "$run/leased" v >/dev/null
has "lease timetolive" "granted with TTL(100s), remaining(" "$(ctl lease timetolive "$lease")"
has "lease timetolive --keys" "[$run/leased]" "$(ctl lease timetolive --keys "$lease")"
has "lease list" "$lease" "$(ctl lease list)"
has "lease keep-alive" "keepalived with TTL(100)" "$(ctl lease keep-alive --once "$lease")"
has "lease revoke" revoked "$(ctl lease revoke "$lease")"
same "its keys are gone" "" "$(ctl get "$run/leased")"
has "a lease that is gone" "already expired" "$(ctl lease timetolive "$lease")"
has "put under it" "etcdserver: requested lease not found" "$(ctl put --lease="$lease" "$run/leased" v 2>&1 || true)"

# --- locks and elections ----------------------------------------------------------
same "lock around a command" held "$(ctl lock "$run/lock" echo held)"
stdbuf -oL etcdctl lock "$run/lock2" >"$scratch/lock-one" 2>&1 &
one=$!
background+=($one)
soon "lock" "$run/lock2/" "$scratch/lock-one"
stdbuf -oL etcdctl lock "$run/lock2" >"$scratch/lock-two" 2>&1 &
background+=($!)
sleep 1
[[ -s $scratch/lock-two ]] && fail "a second lock was given while the first was held"
kill -INT $one
soon "lock passes on when it is given back" "$run/lock2/" "$scratch/lock-two"
stdbuf -oL etcdctl elect "$run/elect" me >"$scratch/elect" 2>&1 &
background+=($!)
soon "elect" me "$scratch/elect"
timeout 5 stdbuf -oL etcdctl elect --listen "$run/elect" >"$scratch/listen" 2>&1 &
background+=($!)
soon "elect --listen" me "$scratch/listen"

# --- the cluster ------------------------------------------------------------------
has "member list" started "$(ctl member list)"
has "endpoint health" "is healthy" "$(ctl endpoint health 2>&1)"
has "endpoint status" "3.4" "$(ctl endpoint status)"
has "endpoint hashkv" , "$(ctl endpoint hashkv)"
same "alarm list" "" "$(ctl alarm list)"
has "defrag" Finished "$(ctl defrag 2>&1)"
same "user list" "" "$(ctl user list)"
has "auth enable" "root user does not exist" "$(ctl auth enable 2>&1 || true)"
has "member remove of nobody" "member not found" "$(ctl member remove 1234abcd 2>&1 || true)"

# --- history, and the way home ------------------------------------------------------
for n in 1 2 3; do ctl put "$run/history" $n >/dev/null; done
now=$(ctl get "$run/history" -w json | sed -E 's/.*"mod_revision":([0-9]+).*/\1/')
same "get --rev" 2 "$(ctl get --rev=$((now - 1)) --print-value-only "$run/history")"
has "compact" "compacted revision" "$(ctl compact "$now")"
has "get of what is compacted" "required revision has been compacted" "$(ctl get --rev=$((now - 1)) "$run/history" 2>&1 || true)"
first=${ETCDCTL_ENDPOINTS%%,*}
kept=$(ctl lease grant 1000 | sed -E 's/lease ([0-9a-f]+) granted.*/\1/')
ctl put --lease="$kept" "$run/kept" v >/dev/null
{ printf '\n'; for n in $(seq 100); do echo "put $run/many/$n $n"; done; printf '\n\n'; } | ctl txn >/dev/null
has "snapshot save" "Snapshot saved" "$(at "$first" timeout 60 etcdctl snapshot save "$scratch/snapshot.db" 2>&1)"
now=$(ctl get "$run/many/1" -w json | sed -E 's/.*"mod_revision":([0-9]+).*/\1/')
has "snapshot status" "\"revision\":$now," "$(ctl snapshot status "$scratch/snapshot.db" -w json)"
if command -v etcd >/dev/null; then
    port=$((40000 + RANDOM % 20000))
    timeout 30 etcdctl snapshot restore "$scratch/snapshot.db" --data-dir "$scratch/restored" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "default=http://127.0.0.1:$((port + 1))" >"$scratch/restore.log" 2>&1 ||
        fail "snapshot restore: $(cat "$scratch/restore.log")"
    timeout 60 etcd --data-dir "$scratch/restored" --initial-cluster "default=http://127.0.0.1:$((port + 1))" \
        --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" >"$scratch/etcd.log" 2>&1 &
    background+=($!)
    for _ in $(seq 100); do
        at "127.0.0.1:$port" ctl get x >/dev/null 2>&1 && break
        sleep 0.1
    done
    same "Debian's etcd serves the snapshot" "$(ctl get --prefix "$run/" | sha256sum)" \
        "$(at "127.0.0.1:$port" ctl get --prefix "$run/" | sha256sum)"
    has "with its leases" "granted with TTL(1000s)" "$(at "127.0.0.1:$port" ctl lease timetolive "$kept")"
    has "and the keys on them" "[$run/kept]" "$(at "127.0.0.1:$port" ctl lease timetolive --keys "$kept")"
    same "and writes on" OK "$(at "127.0.0.1:$port" ctl put "$run/a" after)"
fi
echo "all steps hold"
