# is_free NAME: whether nothing is left of a container that podman has forgotten, as after its database was lost. What still
# runs of it is ended where ORPHANS=end is given; beside it nothing is made: there would be two writers on its volumes.
is_free() {
    root=$(podman info --format '{{.Store.GraphRoot}}' 2>/dev/null)
    for each in /proc/[0-9]*; do
        words=$({ tr '\0' '\n' <"$each/cmdline"; } 2>/dev/null)
        case $words in
        */conmon"
"*"
-b
$root/"*"
-n
$1
"*) ;;
        *) continue ;;
        esac
        if [ "${ORPHANS-}" != end ]; then
            trouble "$1: podman has forgotten it, and it still runs (monitor ${each#/proc/}); with ORPHANS=end it is ended first"
            return 1
        fi
        end_orphan "$1" "${each#/proc/}" "$(printf '%s\n' "$words" | sed -n '/^-c$/{n;p;q;}')" || return 1
    done
    # Its storage holds the name.
    podman container exists --external "$1" 2>/dev/null || return 0
    podman rm --force "$1" >/dev/null && return 0
    trouble "$1: podman does not remove what is left of it"
    return 1
}

# end_orphan NAME MONITOR ID: ends what podman has forgotten; volumes stay as they are.
end_orphan() {
    processes=$(cat "/proc/$2/task/$2/children" 2>/dev/null)
    for signal in TERM KILL; do
        # shellcheck disable=SC2086 # one word a process
        [ -d "/proc/$2" ] && kill -s "$signal" $processes 2>/dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -d "/proc/$2" ] && sleep 1
        done
    done
    if [ -d "/proc/$2" ]; then
        trouble "$1: what podman has forgotten of it does not end (monitor $2)"
        return 1
    fi
    say "$1: ended what podman had forgotten of it"
    # Its published ports would lead past the container that follows.
    iptables -t nat -S CNI-HOSTPORT-DNAT 2>/dev/null | grep -F "$3" | while read -r _ rule; do
        eval "iptables -t nat -D $rule"
    done
    grep -F "/$3/" /proc/self/mounts | while read -r _ point _; do
        umount "$point"
    done
}
