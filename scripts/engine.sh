#!/usr/bin/env bash
# Makes sure that a docker engine answers and that compose is there.
#
# An engine that answers is used as it is. Otherwise the local engine is installed if it is
# missing, and started, after the leftovers of an engine that hangs or died have been removed.
# An engine that DOCKER_HOST or a docker context names is not started here.
#
#   CYBER_DOJO_ENGINE_RUN      the folder with the engine's socket and pid file  (/var/run)
#   CYBER_DOJO_ENGINE_OPTIONS  options of dockerd, if it is started here         (none)
#   CYBER_DOJO_ENGINE_LOG      its log, if it is started here       (/var/log/dockerd.log)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

run=${CYBER_DOJO_ENGINE_RUN:-/var/run}
read -ra options <<<"${CYBER_DOJO_ENGINE_OPTIONS:-}"
engine_log=${CYBER_DOJO_ENGINE_LOG:-/var/log/dockerd.log}

# The engine's answer, or its error. An engine that lost its containerd still answers, but can't
# start containers: its containerd's commit is "N/A".
answer=
answers() {
    if answer=$(timeout 10 docker info --format '{{.ServerVersion}} {{.ContainerdCommit.ID}}' 2>&1); then
        [[ $answer != *" N/A" ]]
    else
        [[ $answer != *"permission denied"* ]] ||
            fail "you have no permission to use the docker engine" \
                "run this as root; or run sudo usermod --append --groups docker $(id -un), and log in again"
        return 1
    fi
}

answers_within() {
    local deadline=$((SECONDS + $1))
    until answers; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.3
    done
}

# State Z is a zombie: it has ended, but its parent has not waited for it.
alive() {
    [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

# process PROGRAM FILE: prints the process in the pid file, if it runs the program. After a crash
# or a restart of the machine another process can have that number.
process() {
    local pid
    pid=$(cat "$2" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && alive "$pid" && echo "$pid"
}

stop() {
    local pid=$1 deadline=$((SECONDS + 10))
    as_root kill "$pid" || true
    while alive "$pid"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            as_root kill -KILL "$pid" || true
            deadline=$((SECONDS + 10))
        fi
        sleep 0.2
    done
}

listening() {
    grep -q " 00010000 .* $1\$" /proc/net/unix
}

remove_leftovers() {
    local pid program file
    for program in dockerd containerd; do
        case $program in
            dockerd) file=$run/docker.pid ;;
            containerd) file=$run/docker/containerd/containerd.pid ;;
        esac
        [ -e "$file" ] || continue
        if pid=$(process $program "$file"); then
            say "$program (process $pid) does not answer: stopping it"
            stop "$pid"
        else
            say "$file is left over from a $program that has ended: removing it"
        fi
        as_root rm -f "$file"
    done
    # If the socket stayed, dockerd would wait for that containerd instead of starting one.
    file=/run/containerd/containerd.sock
    if [ -S $file ] && ! listening $file; then
        say "$file is left over from a containerd that has ended: removing it"
        as_root rm -f $file
    fi
}

start_with_systemd() {
    say "starting the docker engine (systemctl restart docker)"
    as_root systemctl reset-failed docker 2>/dev/null || true
    logged engine-start as_root timeout 120 systemctl restart docker
    answers_within 60 || fail "the docker engine does not answer: ${answer##*$'\n'}" "its log: journalctl --unit docker"
}

start_detached() {
    local log_start deadline=$((SECONDS + 60))
    remove_leftovers
    if ! grep -Eq '^[^ ]+ /sys/fs/cgroup(/[^ ]*devices[^ ]* cgroup | cgroup2 )' /proc/mounts; then
        install_packages "containers need the kernel's control groups mounted" cgroupfs-mount
        as_root cgroupfs-mount
    fi
    say "starting the docker engine in the background (its log: $engine_log)"
    log_start=$(stat --format %s "$engine_log" 2>/dev/null || echo 0)
    # In a session of its own, so that dockerd outlives this terminal. With the highest limit of
    # open files.
    # shellcheck disable=SC2016 # expanded by the sh inside
    as_root setsid --fork sh -c 'cd /; ulimit -n "$(ulimit -Hn)"; exec dockerd "$@" >>"$0" 2>&1 </dev/null' \
        "$engine_log" "${options[@]}"
    until answers; do
        if [ "$SECONDS" -ge "$deadline" ] || tail -c +$((log_start + 1)) "$engine_log" | grep -q 'failed to start daemon'; then
            tail -c +$((log_start + 1)) "$engine_log" | grep -v level=info | tail -n 20 | sed 's/^/   | /' >&2
            fail "the docker engine did not start" "all of its log is in $engine_log"
        fi
        sleep 0.3
    done
}

elsewhere() {
    local endpoint=${DOCKER_HOST:-}
    [ -n "$endpoint" ] || endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || return 1
    [ "${endpoint/#unix:\/\/\/run\//unix:\/\/\/var\/run\/}" != "unix://${run/#\/run/\/var\/run}/docker.sock" ] && echo "$endpoint"
}

packages=()
if have docker && answers; then
    engine=answers
else
    engine=silent
    if have docker && endpoint=$(elsewhere); then
        fail "the docker engine at $endpoint does not answer: ${answer##*$'\n'}" \
            "start it, or unset DOCKER_HOST (or: docker context use default) to use one on this machine"
    fi
    have docker && have dockerd || packages+=(docker.io)
    # If AppArmor is enabled and its tools are missing, no container starts.
    [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || have apparmor_parser || packages+=(apparmor)
fi
docker compose version >/dev/null 2>&1 || have docker-compose || packages+=(docker-compose)
[ ${#packages[@]} = 0 ] ||
    install_packages "docker holds the katas and runs their tests, compose starts the services" "${packages[@]}"

if [ $engine = silent ]; then
    answered=no
    if pid=$(process dockerd "$run/docker.pid"); then
        say "waiting for the docker engine (process $pid), which may just be starting"
        ! answers_within 15 || answered=yes
    fi
    if [ $answered = yes ]; then
        :
    elif [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
        start_with_systemd
    else
        start_detached
    fi
    say "docker engine ${answer% *} answers"
fi
