#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Zeroes and trims are acknowledged, and then the remote server dies and takes with
# it what was not flushed: before it has got any of them, in the midst of them, when
# they are done and nothing is flushed, in the midst of the flush, and after it.
# Nobody sees an error, nor what was there before them, nor loses what was written
# over them; the next flush succeeds, and after another death the remote disk is as
# it must be. On a server that can zero, and on one that can only write zeroes.
# SEED=N replays, ROUNDS=N makes more or fewer.

. "$(dirname "$0")/remote-lib.sh"

find_python
new_seed
rounds=${ROUNDS:-5}
RANDOM=$seed

# The parameters take turns. In all of them nothing is sent that nobody waits for.
parameters=(
  ""
  "connections=1 io-depth=4"
  "folio-max=4K"
)
quiet=(writeback-interval=600 dirty-expire=600 retry=600)

cat >"$tmp/work.py" <<'EOF'
phase, seed, saved = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rng = random.Random("%s %d" % (phase, seed))
SLOT = 128 * KiB
slots = list(range(0, 32 * SLOT, SLOT))
h = connect()


# A range of a slot, far enough from both its ends for no two to merge.
def some(slot, least):
    start = slot + rng.randrange(8 * KiB, 24 * KiB)
    return start, rng.randrange(least, 96 * KiB)


def write(slot):
    at, n = some(slot, 1)
    disk.write(pattern(n, rng.random()), at)


def zero(slot):
    at, n = some(slot, 32 * KiB)
    if h.can_trim() and rng.random() < 0.3:
        disk.trim(n, at)
    else:
        disk.zero(n, at, rng.choice((0, NO_HOLE)))
    if rng.random() < 0.3:
        at += rng.randrange(n)
        disk.write(pattern(rng.randrange(1, 16 * KiB), rng.random()), at)


if phase == "begin":
    disk = Shadow(h)
    for slot in slots:
        disk.write(pattern(SLOT, rng.random()), slot)
    h.flush()
else:
    disk = Shadow.load(h, saved)
if phase == "zero":
    for slot in slots:
        if rng.random() < 0.5:
            write(slot)
    rng.shuffle(slots)
    for slot in slots:
        zero(slot)
elif phase == "read":
    places = list(range(0, 32 * SLOT, 16 * KiB)) * 3
    rng.shuffle(places)
    open(saved + ".reading", "w").close()
    for at in places:
        disk.check("while the server was away", 16 * KiB, at)
elif phase == "go on":
    for slot in rng.sample(slots, 16):
        rng.choice((write, zero))(slot)
    disk.check("when the server was back")
    h.flush()
disk.check(phase)
disk.save(saved)
EOF

work () # PHASE
{
  client "$1" "$seed" "$tmp/want" <"$tmp/work.py" || fail "$what: $1"
}

# life WORK STEP: the remote server starts, and will kill itself at that step. It
# takes longer to zero than to flush.
life ()
{
  remote_nbdkit "${filters[@]}" "$volatile" file="$tmp/disk" seed="$seed" \
                kill-in="$1" kill-after="$2" "${slow[@]}"
}

# Somebody has begun to wait for a flush, which will need all that is to come.
flush_begins ()
{
  "$tools_dir/hold" --uri "$uri" --flush </dev/null >"$tmp/flush.log" 2>&1 &
  flushing=$!
}

flush_succeeds ()
{
  wait "$flushing" || { cat "$tmp/flush.log"; fail "$what: the flush"; }
  flushing=
}

# Nothing was asked for since a flush that succeeded, and the server is dead.
as_written ()
{
  cmp "$tmp/disk" "$tmp/want" || fail "$what: the remote disk after a flush"
}

remote_dead ()
{
  ! kill -0 "$remote_pid"
}

# It kills itself, and nobody knows yet whether it will be back.
dies ()
{
  eventually 60 remote_dead ||
    late "$what: the server has not come as far as to kill itself"
  remote_gone
}

# reach STAGE: and there the server is dead.
reach ()
{
  case $1 in
    acknowledged)
      life "$zeroing" 1
      work zero
      # It would be dead already had it been told of any.
      kill_remote
      ;;
    "being sent")
      life "$zeroing" $((RANDOM % 30 + 1))
      work zero
      flush_begins
      dies
      life "$zeroing" $((RANDOM % 8 + 1))
      dies
      ;;
    done)
      life flush 1
      work zero
      flush_begins
      dies
      ;;
    "being flushed")
      life flush $((RANDOM % 1000 + 2))
      work zero
      flush_begins
      dies
      life flush $((RANDOM % 1000 + 2))
      dies
      ;;
    flushed)
      life any 0
      work zero
      flush_begins
      flush_succeeds
      kill_remote
      as_written
      ;;
  esac
}

one_round () # STAGE
{
  local reading
  flushing=
  life any 0
  # shellcheck disable=SC2086
  start_folio "$remote_uri" "${quiet[@]}" $words
  # When the last client leaves everything is sent.
  hold
  work begin
  kill_remote

  reach "$1"
  rm -f "$tmp/want.reading"
  work read &
  reading=$!
  eventually 30 test -e "$tmp/want.reading" || late "$what: no reader"
  life any 0
  wait "$reading" || fail "$what: see above"
  [ -z "$flushing" ] || flush_succeeds
  work "go on"
  kill_remote
  as_written
  let_go
  kill_folio
}

stages=(acknowledged "being sent" done "being flushed" flushed)
truncate -s 4M "$tmp/disk"
for round in $(seq 0 $((rounds - 1))); do
  words=${parameters[(seed + round) % ${#parameters[@]}]}
  stage=${stages[round % ${#stages[@]}]}
  seed=$((seed + 3))
  for kind in zeroes writes; do
    filters=(--filter=delay) slow=(delay-zero=20ms delay-trim=20ms) zeroing=zero
    [ $kind = zeroes ] ||
      { filters+=(--filter=nozero) slow=(delay-write=8ms) zeroing=write; }
    what="round $round, $stage, a server that $kind, $words"
    one_round "$stage"
  done
done
