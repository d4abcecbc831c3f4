# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Metrics, fetched from a socket in the file system or a port and looked at: the
# grammar of both dialects, what belongs together in a histogram, and values.
#
#   metrics.py ADDRESS prometheus|openmetrics     prints NAME{LABELS} VALUE lines

import http.client
import re
import socket
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(
    r"(%s)(?:\{((?:[a-z_]+=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)+)\})? (\S+)$" % NAME)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def fetch(address, headers, url="/metrics", method="GET"):
    if address.startswith("unix:"):
        connection = UnixConnection(address[5:])
    else:
        connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, url, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    return response.status, response.getheader("Content-Type"), text


def check(condition, what):
    if not condition:
        sys.exit("FAIL: " + what)


def family_of(name, kind):
    suffixes = {"histogram": ("_bucket", "_sum", "_count"),
                "counter": ("_total",)}.get(kind, ())
    for suffix in suffixes:
        if name.endswith(suffix):
            return name[:-len(suffix)]
    return name


def parse(text, openmetrics):
    """A dictionary from "NAME{LABELS}" to values."""
    samples, types, helped, kind, current = {}, {}, set(), None, None
    check(text.endswith("\n"), "no newline at the end")
    lines = text.split("\n")[:-1]
    if openmetrics:
        check(lines[-1] == "# EOF", "no # EOF at the end")
        lines = lines[:-1]
    for line in lines:
        match = re.match("# TYPE (%s) (counter|gauge|histogram)$" % NAME, line)
        if match:
            current, kind = match.groups()
            check(current not in types, "a second " + line)
            types[current] = kind
            if kind == "counter":
                check(current.endswith("_total") != openmetrics, line)
            continue
        match = re.match("# HELP (%s) \\S.*\\.$" % NAME, line)
        if match:
            check(match.group(1) == current and current not in helped,
                  "misplaced: " + line)
            helped.add(current)
            continue
        match = SAMPLE.match(line)
        check(match, "neither comment nor sample: " + line)
        name, labels, value = match.groups()
        family = family_of(name, kind)
        if kind == "counter" and not openmetrics:
            family += "_total"
        check(family == current, "not of %s: %s" % (current, line))
        check(kind != "counter" or name.endswith("_total"), line)
        key = "%s{%s}" % (name, labels or "")
        check(key not in samples, "twice: " + line)
        samples[key] = float(value)
        check(kind == "gauge" or float(value) >= 0, line)
    check(set(types) == helped, "types and helps differ")
    for name, kind in types.items():
        if kind == "histogram":
            check_histogram(samples, name)
    return samples


def check_histogram(samples, name):
    buckets = [(float(re.search('le="([^"]*)"', key).group(1)), value)
               for key, value in samples.items()
               if key.startswith(name + "_bucket{")]
    check(len(buckets) > 8, name + ": hardly a bucket")
    check(buckets == sorted(buckets), name + ": not in order")
    counts = [count for _, count in buckets]
    check(counts == sorted(counts), name + ": not cumulative")
    check(buckets[-1][0] == float("inf"), name + ": no +Inf")
    check(samples[name + '_count{disk="default"}'] == counts[-1],
          name + ": the count is not that of +Inf")
    check(name + '_sum{disk="default"}' in samples, name + ": no sum")


def main():
    address, dialect = sys.argv[1:]
    openmetrics = dialect == "openmetrics"
    accept = ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
              if openmetrics else "text/plain")
    status, kind, text = fetch(address, {"Accept": accept})
    check(status == 200, "status %d" % status)
    check(("openmetrics" in kind) == openmetrics, "Content-Type: " + kind)
    for key, value in parse(text, openmetrics).items():
        print("%s %.15g" % (key, value))

    status, _, text = fetch(address, {}, method="HEAD")
    check(status == 200 and text == "", "HEAD: status %d" % status)
    status, _, _ = fetch(address, {}, url="/")
    check(status == 404, "/: status %d" % status)
    for method in "POST", "PUT", "DELETE":
        status, _, _ = fetch(address, {}, method=method)
        check(status == 405, "%s: status %d" % (method, status))


main()
