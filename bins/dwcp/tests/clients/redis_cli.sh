#!/bin/bash
# Drives a Redis endpoint with Debian's redis-cli and redis-benchmark, unmodified.
#
# Usage: redis_cli.sh PORT [--redis]
#
# Each step prints one line; the first that fails ends the run with what was expected and what came. With --redis
# only what real Redis does too.
set -euo pipefail
port=$1
run=run-$$-$RANDOM

cli() { timeout 20 redis-cli -p "$port" "$@"; }
step() { printf 'ok      %s\n' "$1"; }
fail() {
    printf 'FAILED  %s\n' "$1" >&2
    exit 1
}
# same NAME WANT GOT
same() { [[ $3 == "$2" ]] && step "$1" || fail "$1: wanted '$2', got '$3'"; }
# has NAME PART GOT
has() { [[ $3 == *"$2"* ]] && step "$1" || fail "$1: wanted something with '$2', got '$3'"; }

same ping PONG "$(cli ping)"
same set OK "$(cli set $run:a 'one two')"
same get 'one two' "$(cli get $run:a)"
same incr 1 "$(cli incr $run:n)"
same 'incr again' 2 "$(cli incr $run:n)"
same sadd 2 "$(cli sadd $run:s x y)"
same smembers $'x\ny' "$(cli smembers $run:s | sort)"
same hset 1 "$(cli hset $run:h f v)"
same hgetall $'f\nv' "$(cli hgetall $run:h)"
same rpush 3 "$(cli rpush $run:l a b c)"
same lrange $'a\nb\nc' "$(cli lrange $run:l 0 -1)"
same type set "$(cli type $run:s)"
same 'resp3 map' '1# "f" => "v"' "$(cli -3 --no-raw hgetall $run:h)"
same transaction $'OK\nQUEUED\nQUEUED\nOK\n7' "$(printf 'multi\nset %s 6\nincr %s\nexec\n' $run:m $run:m | cli)"
same 'wrong type' 'WRONGTYPE Operation against a key holding the wrong kind of value' "$(cli get $run:s)"
has 'unknown command' "ERR unknown command 'nosuch', with args beginning with: 'a'" "$(cli nosuch a)"
has info 'redis_version:7.' "$(cli info server)"
has 'config get' 'appendonly' "$(cli config get append*)"
has 'command docs' 'summary' "$(cli command docs get)"
same 'scan with --scan' 5 "$(cli --scan --pattern "$run:[anshl]" | wc -l)"
same 'mass insertion' 'errors: 0, replies: 1000' \
    "$(for i in $(seq 1000); do printf 'SET %s:bulk:%d v\r\n' $run "$i"; done | cli --pipe 2>&1 | tail -1)"
same 'bytes of any kind' "$(head -c 1000 /dev/zero | sha256sum)" \
    "$(head -c 1000 /dev/zero | cli -x set $run:z >/dev/null; cli get $run:z | head -c 1000 | sha256sum)"
if [[ ${2-} != --redis ]]; then
    has 'what cannot be kept' "NOTKEPT SETNX can't be kept" "$(cli setnx $run:lock me)"
    has 'explained' '"kind"' "$(cli dwcp.explain $run:a)"
    has 'lag of peers' 'peer0:node=' "$(cli info replication)"
fi
for pipeline in 1 16; do
    said=$(timeout 60 redis-benchmark -p "$port" -q -n 4000 -P $pipeline -c 20 -t ping,set,get,incr,sadd,hset,mset,lpush,rpush 2>&1 | tr '\r' '\n' | grep 'requests per second' || true)
    same "redis-benchmark with pipeline $pipeline" 10 "$(printf '%s\n' "$said" | grep -c 'requests per second')"
done
same removed 1 "$(cli del $run:a)"
