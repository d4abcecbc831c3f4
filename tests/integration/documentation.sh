#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# --help, --dump-plugin and the man page name the same parameters, with the same
# values and the same defaults, and the man page's POD is right.

. "$(dirname "$0")/helpers.sh"

man=$abs_top_srcdir/man/nbdkit-folio-plugin.pod
needs perl
[ -e "$man" ] || fail "there is no $man"

# Lines "KEY WHAT DEFAULT", sorted. --help has KEY=WHAT (DEFAULT).
folio_says ()
{
  bash "$tests_dir/nbdkit.sh" "$FOLIO_PLUGIN" "$@"
}
folio_says --help >"$tmp/help.txt"
sed -nE 's/^([a-z][a-z-]*)=([^ ]+) \((.*)\)$/\1 \2 \3/p' "$tmp/help.txt" |
  sort >"$tmp/help"
[ "$(wc -l <"$tmp/help")" -ge 15 ] || fail "--help tells of too few parameters"

# --dump-plugin has default_KEY=DEFAULT.
folio_says --dump-plugin >"$tmp/dump.txt"
sed -nE 's/^default_([a-z][a-z-]*)=(.*)/\1 \2/p' "$tmp/dump.txt" |
  sort >"$tmp/dump"
cut -d ' ' -f 1,3 "$tmp/help" | diff -u - "$tmp/dump" ||
  fail "--help and --dump-plugin differ"
for line in stores=file,nbd formats=raw,thin io=uring,threads magic_config_key=store \
            max_thread_model=parallel; do
  grep -qx "$line" "$tmp/dump.txt" || fail "--dump-plugin does not say $line"
done

# The man page has "=item B<KEY=>WHAT", whose text says "The default is C<X>",
# or is required or has none; or an "=item B<KEY=VALUE>" for each value, one of
# which is "the default".
perl -n -e '
  $in = /PARAMETERS/ if /^=head1/;
  next unless $in;
  if (/^=item \[?B<([a-z][a-z-]*)=>\]?(\S+)$/) {
    ($key, $value, $what{$1}) = ($1, undef, $2);
  } elsif (/^=item B<([a-z][a-z-]*)=([^>]+)>$/) {
    ($key, $value) = ($1, $2);
    $what{$key} = join "|", grep { defined } $what{$key}, $value;
  } elsif (/^=item/) {
    die "what is this: $_";
  } elsif (defined $value) {
    $default{$key} = $value if /\bthe default\b/;
  } elsif (defined $key) {
    $default{$key} = $1 if /\bdefault is C<([^>]+)>/;
    $default{$key} = "required" if /\brequired\b/;
  }
  # A sentence may be broken between two lines.
  if (defined $key && !defined $value) {
    $default{$key} = $1 if "$last $_" =~ /\bdefault\s+is\s+C<([^>]+)>/;
  }
  chomp ($last = $_);
  END {
    print "$_ $what{$_} ", $default{$_} // "none", "\n" for keys %what;
  }
' "$man" | sort >"$tmp/man"
diff -u "$tmp/help" "$tmp/man" || fail "--help and the man page differ"

# The synopsis and the examples use no other keys, the README neither.
known=" $(cut -d ' ' -f 1 "$tmp/help" | tr '\n' ' ')"
sed -n '/^=head1 SYNOPSIS/,/^=head1 DESCRIPTION/p' "$man" |
  grep -E '^ ' >"$tmp/examples"
grep -hE '^ .*nbdkit.* folio' "$abs_top_srcdir/README.md" >>"$tmp/examples" ||
  true
grep -oE '(^|[ []|\[)[a-z]+(-[a-z]+)*\]?=' "$tmp/examples" | tr -d ' []=' |
  sort -u | while read -r key; do
    case $known in
      *" $key "*) ;;
      *) fail "an example uses $key=, which does not exist" ;;
    esac
  done
for key in $known; do
  grep -qE -- "(^|[ []|\|)$key\]?=" "$tmp/examples" ||
    fail "the synopsis lacks $key"
done

if command -v podchecker >/dev/null; then
  podchecker -warnings -warnings "$man" || fail "podchecker"
else
  skip "podchecker is not installed (the rest passed)"
fi
