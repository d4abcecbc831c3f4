# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# Programs that integration tests run: tools/NAME from tools/NAME.c. They are
# found in $tools_dir by whatever sources functions.sh. It is not them that
# sanitizers are to look at, and they take twice as long with them.
TOOL_CC_FLAGS = -pthread $(FOLIO_CFLAGS)
TOOL_LD_FLAGS = -pthread -Wl,--as-needed

TOOLS = \
	tools/crash \
	tools/fuzz \
	tools/hold \
	tools/oracle \
	tools/without-io-uring \
	$(NULL)

TOOLS_COMMON = \
	tools/history.c \
	tools/history.h \
	tools/op.c \
	tools/op.h \
	tools/target.c \
	tools/target.h \
	tools/util.c \
	tools/util.h \
	$(NULL)

tools_crash_SOURCES = \
	$(TOOLS_COMMON) \
	tools/crash.c \
	tools/crash.h \
	tools/crash-load.c \
	tools/crash-verify.c \
	tools/sectors.c \
	tools/sectors.h \
	tools/state-file.c \
	tools/state-file.h \
	$(NULL)
tools_crash_CFLAGS = $(TOOL_CC_FLAGS)
tools_crash_LDFLAGS = $(TOOL_LD_FLAGS)
tools_crash_LDADD = $(LIBNBD_LIBS)

tools_fuzz_SOURCES = \
	tools/fuzz.c \
	tools/fuzz.h \
	tools/fuzz-check.c \
	tools/fuzz-gen.c \
	tools/fuzz-wire.c \
	tools/util.c \
	tools/util.h \
	$(NULL)
tools_fuzz_CFLAGS = $(TOOL_CC_FLAGS)
tools_fuzz_LDFLAGS = $(TOOL_LD_FLAGS)
tools_fuzz_LDADD =

tools_hold_SOURCES = \
	tools/hold.c \
	tools/util.c \
	tools/util.h \
	$(NULL)
tools_hold_CFLAGS = $(TOOL_CC_FLAGS)
tools_hold_LDFLAGS = $(TOOL_LD_FLAGS)
tools_hold_LDADD = $(LIBNBD_LIBS)

tools_oracle_SOURCES = \
	$(TOOLS_COMMON) \
	tools/image.c \
	tools/image.h \
	tools/oracle.c \
	tools/oracle.h \
	tools/oracle-lockstep.c \
	tools/oracle-ops.c \
	tools/oracle-races.c \
	tools/oracle-threads.c \
	tools/oracle-verify.c \
	tools/state-file.c \
	tools/state-file.h \
	$(NULL)
tools_oracle_CFLAGS = $(TOOL_CC_FLAGS)
tools_oracle_LDFLAGS = $(TOOL_LD_FLAGS)
tools_oracle_LDADD = $(LIBNBD_LIBS)

tools_without_io_uring_SOURCES = tools/without-io-uring.c
tools_without_io_uring_CFLAGS = $(TOOL_CC_FLAGS)
tools_without_io_uring_LDFLAGS = $(TOOL_LD_FLAGS)
tools_without_io_uring_LDADD =

# A server that misbehaves, for nbdkit: a module without sanitizers, so that an
# ordinary nbdkit loads it.
check_LTLIBRARIES += volatile.la
volatile_la_SOURCES = tools/volatile.c tools/util.c tools/util.h
volatile_la_LIBADD =
volatile_la_CPPFLAGS = $(AM_CPPFLAGS) $(NBDKIT_CFLAGS)
volatile_la_CFLAGS = -fvisibility=hidden -pthread $(FOLIO_CFLAGS)
volatile_la_LDFLAGS = -pthread -module -avoid-version -shared -rpath /nowhere

EXTRA_DIST += tools/hostile.py

if HAVE_LIBNBD
check_PROGRAMS += $(TOOLS)
else
check-local: no-libnbd
no-libnbd:
	@echo 'The tests need libnbd: install the Debian package libnbd-dev' >&2
	@exit 1
endif

# A filter by which nbdkit fails when asked.
check_LTLIBRARIES += broken.la
broken_la_SOURCES = tools/broken.c
broken_la_LIBADD =
broken_la_CPPFLAGS = $(AM_CPPFLAGS) $(NBDKIT_CFLAGS)
broken_la_CFLAGS = -fvisibility=hidden $(FOLIO_CFLAGS)
broken_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere
