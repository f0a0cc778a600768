#!/bin/sh
# Stands before docker and systemctl on the PATH of a server and notes what they are called with, one file
# a call in /var/lib/recorded: the words, the exit code and what a new container's id is, each with a NUL
# behind it. Variables that docker takes from its environment or its input are noted with their values.
name=${0##*/}
real=/usr/bin/$name
note=/var/lib/recorded/$(date +%s.%N).$$
before='' input='' out=''
{
  printf '%s\0' "$name"
  for word; do
    case $before in
    --env) case $word in *=*) ;; *) eval "word=\$word=\$$word" ;; esac ;;
    --env-file)
      [ "$word" = /dev/stdin ] || { echo "a recorded docker can't read $word" >&2; exit 1; }
      input=$(cat)
      printf '%s\n' "$input" | while IFS= read -r line; do printf '%s\0' --env "$line"; done
      ;;
    esac
    case $before,$word in *,--env-file | --env-file,*) ;; *) printf '%s\0' "$word" ;; esac
    before=$word
  done
} >"$note"
case $name,$1 in
docker,run | docker,create)
  if [ -n "$input" ]; then out=$(printf '%s\n' "$input" | "$real" "$@"); else out=$("$real" "$@"); fi
  code=$?
  printf '%s\n' "$out"
  ;;
*)
  "$real" "$@"
  code=$?
  ;;
esac
printf '%s\0' "$code" "$out" >>"$note" && mv "$note" "$note.done"
exit "$code"
