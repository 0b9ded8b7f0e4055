# is_unknown NAME-OR-ID: whether podman answers and has no such container.
is_unknown() {
    podman container exists "$1" 2>/dev/null
    [ $? -eq 1 ]
}

# is_free NAME: whether nothing is left of a container that podman has forgotten, as after its database was lost. What still
# runs of it is ended where ORPHANS=end is given; beside it nothing is made: there would be two writers on its volumes.
is_free() {
    root=$(podman info --format '{{.Store.GraphRoot}}' 2>/dev/null)
    if [ -z "$root" ] || ! is_unknown "$1"; then
        trouble "$1: podman does not say whether it is there"
        return 1
    fi
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
        # Anybody may call a program so: the engine's own is this user's, and beside this shell.
        [ "$(readlink "$each/ns/pid")" = "$(readlink /proc/self/ns/pid)" ] || continue
        [ "$(stat -c %u "$each" 2>/dev/null)" = "$(id -u)" ] || continue
        id=$(printf '%s\n' "$words" | sed -n '/^-c$/{n;p;q;}')
        case $id in *[!0-9a-f]* | '') continue ;; esac
        # One that was given another name is known by its id.
        [ ${#id} -eq 64 ] && is_unknown "$id" || continue
        if [ "${ORPHANS-}" != end ]; then
            trouble "$1: podman has forgotten it, and it still runs (monitor ${each#/proc/}); with ORPHANS=end it is ended first"
            return 1
        fi
        end_orphan "$1" "${each#/proc/}" "$id" || return 1
    done
    # Its storage holds the name.
    id=$(podman ps --all --external --no-trunc --format '{{.ID}} {{.Names}}' 2>/dev/null | while read -r found name; do
        [ "$name" = "$1" ] && printf %s "$found"
    done)
    [ -z "$id" ] && return 0
    [ ${#id} -eq 64 ] && podman rm --force "$id" >/dev/null && return 0
    trouble "$1: podman does not remove what is left of it"
    return 1
}

# end_orphan NAME MONITOR ID: ends what podman has forgotten; volumes stay as they are.
end_orphan() {
    for signal in TERM KILL; do
        processes=$(cat "/proc/$2/task/$2/children" 2>/dev/null)
        # shellcheck disable=SC2086 # one word a process
        [ -n "$processes" ] && kill -s "$signal" $processes 2>/dev/null
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
    iptables -w -t nat -L CNI-HOSTPORT-DNAT -n --line-numbers 2>/dev/null | grep -F "$3" | sort -rn |
        while read -r number _; do
            iptables -w -t nat -D CNI-HOSTPORT-DNAT "$number"
        done
    grep -F "/$3/" /proc/self/mounts | while read -r _ point _; do
        umount "$point"
    done
}
