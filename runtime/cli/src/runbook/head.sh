set -u
left=0

say() { printf '%s\n' "$*"; }

# Tells of what is left to be done by hand.
trouble() {
    say "$*" >&2
    left=1
}

# is_new NAME: whether a container is to be made. One that runs is left alone, one that does not is started as it is.
is_new() {
    ENGINE container inspect "$1" >/dev/null 2>&1 || {
        is_free "$1"
        return
    }
    if [ "$(ENGINE container inspect --format '{{.State.Running}}' "$1")" = true ]; then
        say "$1: runs already, left as it is"
    elif ENGINE start "$1" >/dev/null; then
        say "$1: was there and did not run, started as it is"
    else
        trouble "$1: is there and does not start; 'ENGINE rm $1' makes room for a new one"
    fi
    return 1
}

# made NAME CODE: what became of a container.
made() {
    if [ "$2" -eq 0 ]; then say "$1: made"; else trouble "$1: not made (exit code $2)"; fi
}

# variables: the lines of an environment, sorted, but for paths of secrets, which are others without mcrun.
variables() { grep -v '_FILE=' | LC_ALL=C sort; }

# is_idle NAME COUNT ENVIRONMENT WORD...: whether a native program is to be started: fewer than COUNT run with these words in
# this environment. One whose environment cannot be read counts.
is_idle() {
    name=$1 count=$2 running=0
    environment=$(printf '%s\n' "$3" | variables)
    shift 3
    wanted=$(printf '%s\n' "$@")
    for each in /proc/[0-9]*; do
        case $({ tr '\0' '\n' <"$each/cmdline"; } 2>/dev/null) in
        # Before the words of a script stand those of its interpreter.
        "$wanted" | *"
$wanted") ;;
        *) continue ;;
        esac
        [ -r "$each/environ" ] && has=$({ tr '\0' '\n' <"$each/environ" | variables; } 2>/dev/null) &&
            [ "$has" != "$environment" ] && continue
        running=$((running + 1))
    done
    [ "$running" -lt "$count" ] && return 0
    say "$name: runs already, left as it is"
    return 1
}

# start NAME FOLDER WORD...: starts a native program apart from this terminal.
start() {
    name=$1 folder=$2
    shift 2
    log=$(mktemp "${TMPDIR:-/tmp}/mcrun-$name.XXXXXX") || {
        trouble "$name: there is no place for its output"
        return
    }
    (cd "$folder" && exec setsid "$@" </dev/null >"$log" 2>&1) &
    process=$!
    sleep 1
    if kill -0 "$process" 2>/dev/null; then
        say "$name: started as process $process; its output is in $log"
    else
        trouble "$name: ended at once; its output is in $log"
    fi
}

# has_paths NAME PATH...: whether everything is there that a container mounts.
has_paths() {
    name=$1
    shift
    for path; do
        [ -e "$path" ] && continue
        trouble "$name: not made, because '$path' is not there"
        return 1
    done
}

# network NAME: makes a network that is not there.
network() {
    ENGINE network inspect "$1" >/dev/null 2>&1 && return
    ENGINE network create "$1" >/dev/null && say "made the network $1 with the engine's own settings"
}

# lacks NAME SECRET VARIABLE: nothing goes on without a secret.
lacks() {
    say "$1: the secret '$2' is not given: put its value into the environment variable $3 and start this again" >&2
    exit 1
}

# hand PATH VALUE [OWNER]: puts a secret into a file in memory. Its folder is closed to all but its owner.
hand() {
    folder=$(dirname "$1")
    (umask 077 && mkdir -p "$folder" && rm -f "$1" && printf '%s' "$2" >"$1" && chmod 0444 "$1") || {
        say "the secret file $1 cannot be written" >&2
        exit 1
    }
    [ $# -lt 3 ] && return
    chown "$3" "$folder" "$1" && chmod 0711 "$(dirname "$folder")" "$(dirname "$(dirname "$folder")")"
}
