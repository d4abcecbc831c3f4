#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# The control socket's set: what is refused changes nothing, what is not is in force;
# and all parameters are changed again and again while random requests are compared
# with an oracle's.

. "$(dirname "$0")/random-ops-lib.sh"
. "$(dirname "$0")/helpers.sh"

find_python
export control=$tmp/control

truncate -s 64M "$tmp/disk.img"
start_folio "$tmp/disk.img" "control=$control" cache-size=16M io-depth=16
"$python" "$here/control.py" <<'EOF'
c = Control()

def settings():
    return c.disk()["settings"]

def refused(values, words):
    before = settings()
    desc = c.fails("set", {"values": values})
    check(words in desc, desc)
    check(settings() == before, "refused, but changed: %s" % values)

check(settings()["dirty-ratio"] == "40" and settings()["io-depth"] == "16",
      settings())
limit = c.disk()["limit"]
c.run("set", values={"dirty-ratio": "20", "flush-target": 0}, disk="default")
check(settings()["dirty-ratio"] == "20" and settings()["flush-target"] == "0",
      settings())
eventually(lambda: c.disk()["limit"] == limit // 2, "the limit does not change")
check(c.run("set", values={}) == {}, "nothing at all")

c.run("set", values={"dirty-bytes": "1M", "dirty-background-bytes": 65536})
check(settings()["dirty-bytes"] == "1M" and "dirty-ratio" not in settings(),
      settings())
eventually(lambda: c.disk()["limit"] == 1 << 20, "the limit does not change")
eventually(lambda: c.disk()["background"] == 65536, "nor the background")
c.run("set", values={"dirty-ratio": 40, "dirty-background-ratio": 10})
eventually(lambda: c.disk()["limit"] == limit, "the limit does not come back")

refused({"cache-size": "1G"}, "cannot be changed while the server runs; allowed:")
refused({"nonsense": "1"}, "cannot be changed while the server runs; allowed:")
refused({"dirty-ratio": "101"}, "allowed: ")
refused({"dirty-ratio": "10", "flush-target": "x"}, "allowed: ")
refused({"dirty-ratio": "5", "dirty-background-ratio": "6"}, "is not below")
refused({"dirty-ratio": "5", "dirty-bytes": "1M"}, "")
refused({"io-depth": 17}, "io-depth=17: there is room for 16")
refused({"readahead": -1}, "allowed: ")
refused({"readahead": 1.5}, "no whole number")
refused({"readahead": None}, "no whole number")
c.fails("set")
c.fails("set", {"values": []})
c.fails("set", {"values": {}, "x": 1})
EOF
stop_folio

# While requests come. The file is at hand, and the store as fast as it may be: a limit
# that falls under load is the harder for it.
"$python" - <<'EOF' &
import os, random, sys, time
source = open(os.environ["abs_top_srcdir"] + "/tests/integration/control.py").read()
exec(source.split("if __name__")[0])
r = random.Random(1)
values = {
    "dirty-ratio": [1, 5, 40, 100], "dirty-background-ratio": [0, 10, 90],
    "dirty-bytes": ["64K", "1M", "8M"], "dirty-background-bytes": [0, "32K", "4M"],
    "dirty-expire": ["10ms", "100ms", 30], "writeback-interval": ["10ms", 1],
    "flush-target": [0, "100ms", 10], "readahead": [0, "4K", "1M"],
    "sequential-cutoff": [0, "64K", "1M"], "io-depth": [1, 2, 3, 32],
}
while not os.path.exists(os.environ["tmp"] + "/over"):
    try:
        c = Control()
        for i in range(50):
            chosen = {k: r.choice(values[k])
                      for k in r.sample(list(values), r.randrange(1, 4))}
            if r.random() < .1:
                c.answer(c.begin(r.choice(["drop-clean", "flush"])))
            c.answer(c.begin("set", {"values": chosen}))
            time.sleep(r.random() * 0.02)
    except (OSError, SystemExit):
        time.sleep(0.1) # the server begins or ends
EOF
setter=$!
on_exit kill "$setter"
oracle_options=(--max-len 256K)
ops=6000 random_ops 2 32M cache-size=8M "control=$control"
touch "$tmp/over"
wait "$setter"
grep -c ' is set' "$log"
[ "$(grep -c ' is set' "$log")" -ge 20 ] || fail "hardly anything was set"
