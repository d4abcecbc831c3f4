#!/usr/bin/env bash
# nbdkit-folio
# Copyright the nbdkit-folio authors
# SPDX-License-Identifier: BSD-3-Clause
#
# What the READMEs of cache/, fs/ and tests/ and CONTRIBUTING.md name is there. All
# that stands between `backquotes` on one line is one of
#
#   name()            a function, of C or of a script
#   struct name       and enum
#   name.member       a member of a struct
#   NAME, NAME=...    a constant, a macro; a variable of a script, a test or make
#   --option          of configure or of a program of ours
#   key=, key=value   a parameter of the plugin
#   folder/, a/file   from the README's folder, from tests/ or from the top; a test
#                     is one that its local.mk lists
#   make target, ...  a command; lines that are indented by four are commands too
#
# and so is all that is not understood a fault. Fenced blocks are pictures. Nor is
# there a folder, a long target or a benchmark that the READMEs leave out.

. "$(dirname "$0")/common.sh"

documents='cache/README.md fs/README.md tests/README.md CONTRIBUTING.md'
status=0

fault ()
{
  echo "$*"
  status=1
}

# --- what there is

declare -A functions types members constants variables targets options tests

all=$(sources plugin folioctl img cache fs tests)
scripts=$(find tests contrib -name '*.sh'; grep -rlI -m 1 '^#!/' tests contrib)
makes=$(find Makefile.am common.mk plugin cache fs man contrib tests \
             -name '*.am' -o -name '*.mk')

# collect ARRAY: the words of standard input.
collect ()
{
  local -n into=$1
  local word
  while read -r word; do into[$word]=1; done
}

collect functions < <(
  sed -nE 's/^([A-Za-z_][A-Za-z0-9_]*) \(.*/\1/p' $all
  sed -nE 's/^([a-z_]+) \(\)$/\1/p' $scripts)
collect types < <(sed -nE 's/^(struct|enum) ([a-z_]+) \{.*/\1.\2/p' $all)
collect constants < <(
  sed -nE 's/^# *define +([A-Z][A-Z0-9_]+).*/\1/p' $all
  awk '/^enum.*\{/ { inside = 1 } inside { print } /\}/ { inside = 0 }' $all |
    sed 's,/\*.*,,' | grep -oE '\b[A-Z][A-Z0-9_]+\b')
collect variables < <(
  grep -hoE '\$[({]?[A-Z][A-Z0-9_]+' $scripts $makes | grep -oE '[A-Z].*'
  sed -nE 's/.*getenv \("([A-Z_]+)"\).*/\1/p' $all
  sed -nE 's/^([A-Z][A-Z0-9_]+) *\+?=.*/\1/p' $makes
  printf '%s\n' CC CFLAGS)
collect targets < <(
  sed -nE 's/^([a-z][a-z0-9_-]*):.*/\1/p' $makes
  printf '%s\n' all check clean dist distcheck install)
collect options < <(
  sed -nE 's/.*AC_ARG_(ENABLE|WITH)\(\[([a-z-]+)\].*/--\L\1\E-\2/p' configure.ac
  grep -hoE -- '--[a-z][a-z-]+' $scripts $(sources tests/sim tests/tools))
collect tests < <(
  sed -nE 's/^\t([a-z]+\/[a-z0-9.-]+) \\$/\1/p' tests/*/local.mk)
# Every word of a struct that is not a comment is near enough to a member.
collect members < <(
  awk '/^struct [a-z_]+ \{/ { name = $2 }
       name { line = $0
              gsub (/\/\*[^*]*\*\//, "", line)
              if (comment) { if (!sub (/.*\*\//, "", line)) next; comment = 0 }
              if (sub (/\/\*.*/, "", line)) comment = 1
              gsub (/[^a-z0-9_]+/, " ", line)
              n = split (line, words, " ")
              for (i = 1; i <= n; i++) print name "." words[i] }
       /^\}/ { name = "" }' $all)

# --- what is named

# path NAME: there is such a file or folder, or program of such a source.
path ()
{
  local name=${1%/} at glob
  while [[ $name == ../* ]]; do name=${name#../}; done # from a build directory
  [ "$name" != configure ] || name=configure.ac
  for at in "$folder" tests .; do
    for glob in $at/$name $at/$name.c; do
      [ -e "$glob" ] || continue
      case $glob in
        tests/unit/*-test.c | tests/sim/*-test.c | tests/style/*.sh)
          [ "${glob##*/}" = common.sh ] || is_test "${glob#tests/}" || return 1 ;;
        tests/integration/*.sh)
          [[ $glob == *-lib.sh || $glob == *helpers.sh ]] ||
            is_test "${glob#tests/}" || return 1 ;;
      esac
      return 0
    done
  done
  return 1
}

is_test ()
{
  [ -n "${tests[${1%.c}]:-}" ]
}

# assignment NAME=VALUE; the values of TESTS are tests.
assignment ()
{
  local word
  [ -n "${variables[${1%%=*}]:-}" ] || return 1
  [[ $1 == TESTS=* ]] || return 0
  for word in ${1#TESTS=}; do
    path "$word" || return 1
  done
}

# Of a command: what is ours among its words, of which the first is a program.
command_line ()
{
  local line=$1 word program='' words
  # TESTS='A B' is one word.
  readarray -t words < <(
    grep -oE "[A-Z_]+='[^']*'|[^ ]+" <<<"${line%% \#*}" | tr -d "'")
  for word in "${words[@]}"; do
    case $word in
      '&&' | \\) program='' ;;
      -C) program=make-C ;;
      tests | tests/ | . | ..) ;;
      [A-Z]*=*) assignment "$word" || return 1 ;;
      --enable-* | --with-*) [ -n "${options[${word%%=*}]:-}" ] || return 1 ;;
      --*) [ "$program" != ours ] || [ -n "${options[${word%%=*}]:-}" ] ||
             return 1 ;;
      -* | [A-Z]* | '['* | *://* | /* | [0-9]* | '<'* | *...) ;;
      */*) path "$word" || return 1; [ -n "$program" ] || program=ours ;;
      *) case $program in
           '') program=$word
               [[ $word =~ ^(autoreconf|bash|cd|git|kill|make|mkdir)$ ]] || return 1 ;;
           make-C) program=make ;;
           make) [ -n "${targets[$word]:-}" ] || return 1 ;;
         esac ;;
    esac
    [ "$program" != make-C ] || [ "$word" = -C ] || program=make
  done
}

known ()
{
  local name=$1 key
  if [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*\(\)$ ]]; then
    [ -n "${functions[${name%()}]:-}" ]
  elif [[ $name =~ ^(struct|enum)\ [a-z_]+$ ]]; then
    [ -n "${types[${name/ /.}]:-}" ]
  elif [[ $name =~ ^[A-Z][A-Z0-9_]*$ ]]; then
    [ -n "${constants[$name]:-}${variables[$name]:-}" ] || path "$name"
  elif [[ $name == *' '* ]]; then
    command_line "$name"
  elif [[ $name =~ ^[A-Z][A-Z0-9_]*= ]]; then
    assignment "$name"
  elif [[ $name =~ ^--[a-z-]+ ]]; then
    [ -n "${options[${name%%=*}]:-}" ]
  elif [[ $name =~ ^[a-z-]+= ]]; then
    key=${name%%=*}
    grep -q "\"$key\"" plugin/config.c
  elif path "$name"; then
    :
  elif [[ $name =~ ^[a-z_]+\.[a-z_]+$ ]]; then
    [ -n "${members[$name]:-}" ]
  else
    [ -n "${targets[$name]:-}" ]
  fi
}

# names FILE: the number of the line and the name, of each.
names ()
{
  awk '/^```/ { fenced = !fenced; next }
       fenced { next }
       /^    / { sub (/^ +/, ""); print NR "\t" $0 " #"; next }
       { n = split ($0, part, "`")
         if (n > 0 && n % 2 == 0) print NR "\t" "a-second-backquote"
         for (i = 2; i < n; i += 2) print NR "\t" part[i] }' "$1"
}

total=0
for document in $documents; do
  folder=$(dirname "$document") count=0
  while IFS=$'\t' read -r line name; do
    count=$((count + 1))
    known "$name" || fault "$document:$line: there is no \"${name% #}\""
  done < <(names "$document")
  [ $count -ge 10 ] || fault "$document: only $count names found"
  total=$((total + count))
done
echo "$total names"

# --- what is left out

named ()
{
  grep -qF "\`$2\`" "$1" || fault "$1 does not name $2"
}

for folder in cache/*/ fs/*/ tests/*/; do
  name=${folder%/}
  named "${folder%%/*}/README.md" "${name#*/}/"
done
for target in "${!targets[@]}"; do
  [[ $target != *-long ]] || named tests/README.md "make -C tests $target"
done
for bench in $(grep -lI -m 1 '^#!/' tests/bench/*); do
  named tests/README.md "${bench#tests/}"
done

exit $status
