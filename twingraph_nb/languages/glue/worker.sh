# Runs calls of a component in Bash. Usage: bash worker.sh cell.sh; speaker.py has the protocol.
# Each call has a subshell of its own, so that one leaves nothing behind for the next.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "Bash 4.4 or newer is needed, this is $BASH_VERSION" >&2
  exit 3
fi
twingraph_cell=$1 twingraph_mark= twingraph_told= twingraph_tag=0

# In place of stdout, which carries the answers: in frames to stderr, as speaker.py has them. A
# frame has no newline, so that it is written at once. NUL bytes are lost, as always in Bash.
twingraph_pump() { # what comes before the tag that marks the end of a call
  local LC_ALL=C held='' text rest fresh=1 size=0
  while read -r -N 1 text; do
    read -r -t 0.001 -N 500 rest
    held+=$text$rest
    while [[ $held == *"$1"*$'\1'* ]]; do
      rest=${held#*"$1"}
      [[ $rest == *$'\1'* ]] || break
      twingraph_frame "${held%%"$1"*}"
      twingraph_marked "${rest%%$'\1'*}"
      held=${rest#*$'\1'}
    done
    rest=
    if [[ $held == *$'\1'* ]]; then # it may be the beginning of a mark
      rest=$'\1'${held##*$'\1'}
      [[ $1 == "$rest"* || $rest == "$1"* ]] || rest=
    fi
    twingraph_frame "${held:0:${#held}-${#rest}}"
    held=$rest
  done
}

twingraph_frame() {
  local at part
  twingraph_note "$1"
  for ((at = 0; at < ${#1}; at += 500)); do
    part=${1:at:500}
    part=${part//$'\20'/$'\20P'}
    printf '\0>%s\0' "${part//$'\n'/$'\20J'}" >&2
  done
}

# What the running call says is noted too, for another kernel if this one dies: what it prints in
# $twingraph_told.prints, by this one, and its answer in $twingraph_told.answer.
twingraph_note() {
  [[ -n $twingraph_told && -n $1 ]] || return 0
  ((fresh == 0)) || : >"$twingraph_told.prints"
  fresh=0 size=$((size + ${#1}))
  ((size > 1 << 24)) || printf 'log 0 %s\nstdout %s' "$((${#1} + 7))" "$1" >>"$twingraph_told.prints"
}

twingraph_marked() { # tag: that call has printed all it does
  printf '\0%s\0' "$1" >&2
  [[ -n $twingraph_told ]] || return 0
  ((fresh == 0)) || : >"$twingraph_told.prints"
  ((size > 1 << 24)) || printf '%s\n' "$1" >"$twingraph_told.marked"
  fresh=1 size=0
}

twingraph_outlive() { # the kernel is gone: wait with what the last call has said, if it wanted that
  local seen='' look
  ((twingraph_linger && SECONDS - twingraph_answered <= 2)) || return 0
  for ((look = 0; look < 100; look++)); do # until the other has noted what was printed
    read -r seen <"$twingraph_told.marked"
    [[ $seen != "$twingraph_tag" ]] || break
    sleep 0.05
  done
  [[ $seen == "$twingraph_tag" ]] || return 0
  cat "$twingraph_told.prints" "$twingraph_told.answer" >"$twingraph_told.part" || return 0
  mv "$twingraph_told.part" "$twingraph_told" && sleep "$twingraph_linger"
}

if [[ ${TWINGRAPH_CHANNEL:-stdio} == stdio ]]; then
  exec {twingraph_in}<&0 {twingraph_out}>&1 0</dev/null 1>&2
  if [[ -n ${TWINGRAPH_MARKS:-} ]]; then
    twingraph_mark=$'\1'twingraph-$RANDOM$RANDOM-
    twingraph_told=${TWINGRAPH_TOLD:-}
    if [[ -n $twingraph_told ]]; then
      (umask 077 && for one in prints marked answer part; do : >"$twingraph_told.$one"; done)
    fi
    exec 1> >(exec {twingraph_in}<&- {twingraph_out}>&-; twingraph_pump "$twingraph_mark")
  fi
else
  twingraph_in=$TWINGRAPH_CHANNEL twingraph_out=$TWINGRAPH_CHANNEL
fi
unset TWINGRAPH_CHANNEL TWINGRAPH_MARKS TWINGRAPH_TOLD
set --

twingraph_say() { # kind, body: a message of the running call
  local LC_ALL=C
  printf '%s %s %s\n%s' "$1" "$twingraph_tag" "${#2}" "$2" >&"$twingraph_out"
}

twingraph_progress() { # a number from 0 to 1, and words
  local IFS=' '
  twingraph_say progress "$1 ${*:2}"
}

twingraph_failed() { # lines, message
  twingraph_say failed "ExitStatus"$'\n'"$1"$'\n'"$2"
  [[ -z $twingraph_told ]] || twingraph_out=1 twingraph_say failed "ExitStatus"$'\n'"$1"$'\n'"$2" >"$twingraph_told.answer"
}

twingraph_on_err() { # status, line, command: `set -e` is about to end the script
  # In a subshell of the user's the error goes on to the script itself, which knows its own line.
  if [[ $BASHPID == "$twingraph_main" && $- == *e* ]]; then
    trap - EXIT
    twingraph_failed "$2" "\`$3\` ended with exit status $1"
    exit 0
  fi
}

twingraph_set() { # make variables of the call's fields; what they hold is never read as code
  local twingraph_at=1 twingraph_count=${twingraph_fields[0]} twingraph_shape twingraph_name
  for ((; twingraph_count > 0; twingraph_count--, twingraph_at += 2)); do
    twingraph_shape=${twingraph_fields[twingraph_at]}
    twingraph_name=${twingraph_fields[twingraph_at + 1]}
    twingraph_shapes+=("$twingraph_shape") twingraph_names+=("$twingraph_name")
    unset -v "$twingraph_name"
    [[ $twingraph_shape != map ]] || declare -gA "$twingraph_name=()"
    [[ $twingraph_shape != array ]] || declare -ga "$twingraph_name=()"
  done
  while ((twingraph_at < ${#twingraph_fields[@]})); do
    twingraph_shape=${twingraph_fields[twingraph_at]}
    twingraph_name=${twingraph_fields[twingraph_at + 1]}
    twingraph_at=$((twingraph_at + 2))
    unset -v "$twingraph_name"
    [[ $twingraph_shape == unset ]] || twingraph_hold
  done
}

twingraph_hold() { # one input, at twingraph_at
  if [[ $twingraph_shape == text ]]; then
    printf -v "$twingraph_name" %s "${twingraph_fields[twingraph_at]}"
    twingraph_at=$((twingraph_at + 1))
    return
  fi
  twingraph_count=${twingraph_fields[twingraph_at]}
  twingraph_at=$((twingraph_at + 1))
  if [[ $twingraph_shape == array ]]; then
    declare -ga "$twingraph_name=()"
    local -n twingraph_ref=$twingraph_name
    twingraph_ref=("${twingraph_fields[@]:twingraph_at:twingraph_count}")
    twingraph_at=$((twingraph_at + twingraph_count))
    return
  fi
  declare -gA "$twingraph_name=()"
  local -n twingraph_ref=$twingraph_name
  for ((; twingraph_count > 0; twingraph_count--, twingraph_at += 2)); do
    twingraph_ref["${twingraph_fields[twingraph_at]}"]=${twingraph_fields[twingraph_at + 1]}
  done
}

twingraph_give() { # send the variables that are outputs
  local -a twingraph_made=()
  local twingraph_at twingraph_size=0 twingraph_shape twingraph_name twingraph_key
  for ((twingraph_at = 0; twingraph_at < ${#twingraph_names[@]}; twingraph_at++)); do
    twingraph_name=${twingraph_names[twingraph_at]}
    twingraph_look "${twingraph_shapes[twingraph_at]}"
    local -n twingraph_ref=$twingraph_name
    twingraph_made+=("$twingraph_shape")
    case $twingraph_shape in
      text) twingraph_made+=("$twingraph_ref") ;;
      array) twingraph_made+=("${#twingraph_ref[@]}" "${twingraph_ref[@]}") ;;
      map)
        twingraph_made+=("${#twingraph_ref[@]}")
        for twingraph_key in "${!twingraph_ref[@]}"; do
          twingraph_made+=("$twingraph_key" "${twingraph_ref["$twingraph_key"]}")
        done
        ;;
    esac
    unset -n twingraph_ref
  done
  local LC_ALL=C
  for twingraph_key in "${twingraph_made[@]}"; do
    twingraph_size=$((twingraph_size + ${#twingraph_key} + 1))
  done
  twingraph_send >&"$twingraph_out"
  [[ -z $twingraph_told ]] || twingraph_send >"$twingraph_told.answer"
}

twingraph_send() { # the fields in twingraph_made
  printf 'result %s %s\n' "$twingraph_tag" "$twingraph_size"
  ((twingraph_size == 0)) || printf '%s\0' "${twingraph_made[@]}"
}

twingraph_look() { # the shape that a variable really has; what it should have if it has none
  local twingraph_told twingraph_flags
  twingraph_shape=unset
  if [[ $1 == text && -v $twingraph_name ]]; then
    twingraph_shape=text # without the cost of another process; of an array the first item
    return
  fi
  twingraph_told=$(declare -p "$twingraph_name" 2>/dev/null) || return 0
  twingraph_flags=${twingraph_told#declare }
  twingraph_flags=${twingraph_flags%% *}
  if [[ $twingraph_flags == *A* ]]; then
    twingraph_shape=map
  elif [[ $twingraph_flags == *a* ]]; then
    twingraph_shape=array
  elif [[ $twingraph_told == *=* ]]; then
    twingraph_shape=text
  fi
}

twingraph_run() {
  twingraph_main=$BASHPID twingraph_names=() twingraph_shapes=()
  twingraph_set
  unset twingraph_fields
  set -eE -o pipefail
  trap 'twingraph_on_err $? $LINENO "$BASH_COMMAND"' ERR
}

twingraph_linger=0 twingraph_answered=0
while IFS=' ' read -r -u "$twingraph_in" twingraph_kind twingraph_about twingraph_length; do
  if [[ $twingraph_kind == keep ]]; then
    read -r -N "$twingraph_length" -u "$twingraph_in" twingraph_count
    [[ $twingraph_about != "$twingraph_tag" ]] || twingraph_linger=$twingraph_count
    continue
  fi
  twingraph_tag=$twingraph_about twingraph_linger=0
  IFS= read -r -d '' -u "$twingraph_in" twingraph_count || break
  mapfile -d '' -t -n "$twingraph_count" -u "$twingraph_in" twingraph_fields
  (
    twingraph_run
    source "$twingraph_cell"
    trap - ERR
    set +e
    twingraph_give
    exit 0
  )
  twingraph_status=$?
  [[ -z $twingraph_mark ]] || printf '%s%s\1' "$twingraph_mark" "$twingraph_tag"
  if ((twingraph_status > 128)); then
    twingraph_failed '' "the script was ended by signal $(kill -l $((twingraph_status - 128)))"
  elif ((twingraph_status)); then
    twingraph_failed '' "the script ended with exit status $twingraph_status"
  fi
  twingraph_answered=$SECONDS
done
[[ -z $twingraph_told ]] || twingraph_outlive
