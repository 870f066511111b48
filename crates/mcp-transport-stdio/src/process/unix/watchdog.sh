# Ends the servers of a host process that is gone. Reads from the host, whose end is the end of the input:
#   MARKER            first line: what the environments of all its servers hold
#   + GROUP:START     a process group and the start time of its leader (0: unknown)
#   - GROUP:START     that group ended
trap '' HUP INT QUIT TERM PIPE TSTP TTIN TTOU USR1 USR2
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
groups=' '

remove() {
    case $groups in
    *" $1 "*) groups="${groups%%" $1 "*} ${groups#*" $1 "}" ;;
    esac
}

# The start time of a process; fails without /proc or the process. Its name may hold line ends.
started() {
    stat=
    { while read -r line; do stat=$line; done </proc/"$1"/stat; } || return 1
    [ -n "$stat" ] || return 1
    set -- ${stat##*) }
    start=${20}
}

# Signals the groups, and forgets those that are empty or have become somebody else's.
signal() {
    for group in $groups; do
        leader=${group%:*}
        if started "$leader" && [ "$start" != "${group#*:}" ]; then
            remove "$group"
        elif ! kill -s "$1" -- "-$leader"; then
            remove "$group"
        fi
    done
}

read -r marker
while read -r change group; do
    case $change in
    +) groups="$groups$group " ;;
    -) remove "$group" ;;
    esac
done

# The end of their stdin comes first, then SIGTERM after 0.4 s, then SIGKILL after 1 s.
for next in 0 0 0 0 TERM 0 0 0 0 0 KILL; do
    signal "$next"
    [ "$groups" = ' ' ] && break
    sleep 0.1
done

# What left its group, and a server that was being started. The second look is for what the first was too
# early for.
[ -n "$marker" ] || exit 0
for pass in 1 2 3 4 5 6 7 8 9; do
    strays=$(grep -slF -e "$marker" /proc/[0-9]*/environ)
    [ -n "$strays" ] || [ "$pass" = 1 ] || break
    for file in $strays; do
        stray=${file#/proc/}
        stray=${stray%/environ}
        # The number must mean the same process before and after the marker was seen.
        started "$stray" || continue
        before=$start
        grep -qsF -e "$marker" "$file" && started "$stray" && [ "$start" = "$before" ] && kill -s KILL "$stray"
    done
    sleep 0.1
done
