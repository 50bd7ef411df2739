# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of ferry's verbs, options and names, for bash.

_ferry_names()
{
    # $1: what to list; names are the second column of domains, the first of others
    case $1 in
    domains) ferry list --all 2>/dev/null | awk 'NR > 1 { print $2 }' ;;
    *) ferry "$1" list 2>/dev/null | awk 'NR > 1 { print $1 }' ;;
    esac
}

_ferry()
{
    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}
    local words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        words="run status stop cont powerdown reset migrate announce quit cpu list start pause resume console net pool help --version"
    elif [ "${word#-}" != "$word" ]; then
        case $verb in
        run) words=$(ferry run --help 2>/dev/null | awk '$1 ~ /^--/ { print $1 }') ;;
        list) words="--all --json --connect" ;;
        start) words="--paused --connect" ;;
        stop) words="--force --control --connect" ;;
        console) words="--force --connect" ;;
        migrate) words="--bandwidth --downtime --persistent --undefine --json --connect --control --help" ;;
        *) words="--json --connect --control" ;;
        esac
    else
        case $verb in
        start | stop | pause | resume | reset | status | console | migrate)
            [ "$COMP_CWORD" = 2 ] && words=$(_ferry_names domains) ;;
        net) [ "$COMP_CWORD" = 2 ] && words="list start stop autostart" || words=$(_ferry_names net) ;;
        pool) [ "$COMP_CWORD" = 2 ] && words="list start stop refresh" || words=$(_ferry_names pool) ;;
        cpu) words="list describe baseline" ;;
        *)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _ferry ferry
