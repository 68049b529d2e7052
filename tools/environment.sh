# Sourced by `howdah` and `test`: what a clone needs before any Python of ours can run. It makes .venv from a lock file and has missing
# Debian packages installed; all that it says goes to stderr, so that a command's own stdout stays clean. Only apt ever runs as root.
# Expects $here, the clone, and $json: "yes" where errors are wanted as objects.

# The variables and their order are those of howdah.language; an object is English whatever they say.
case ${HOWDAH_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}} in ru | ru[_.-]*) russian=yes ;; *) russian=no ;; esac
[ "$json" = no ] || russian=no

# said ENGLISH RUSSIAN
said() { if [ "$russian" = yes ]; then printf '%s' "$2"; else printf '%s' "$1"; fi; }

# say ENGLISH RUSSIAN: progress.
say() { printf 'howdah: %s\n' "$(said "$@")" >&2; }

escaped() { printf '%s' "$1" | tr '\n\t' '  ' | sed 's/[\\"]/\\&/g'; }

# refuse CODE MESSAGE HINT MESSAGE-RU HINT-RU: the last line on stderr, and exit code 6 ("unavailable").
refuse() {
    if [ "$json" = yes ]; then
        printf '{"code": "%s", "message": "%s", "hint": "%s"}\n' "$1" "$(escaped "$2")" "$(escaped "$3")" >&2
    else
        printf '%s %s; %s\n' "$(said error: ошибка:)" "$(said "$2" "$4")" "$(said "$3" "$5")" >&2
    fi
    exit 6
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The system's own comes first: one from PATH may belong to a version switcher that is not there for root or for a service.
find_python() {
    for python in /usr/bin/python3 "$(command -v python3 || true)"; do
        [ -x "$python" ] && new_enough "$python" && return
    done
    [ ! -x /usr/bin/python3 ] && command -v apt-get >/dev/null && return # apt brings it with python3-venv
    found=$(python3 --version 2>/dev/null || echo python3)
    refuse python_too_old "cannot use $found: howdah needs Python 3.11 or newer" "use Debian 12 or newer, or put a newer python3 first in PATH" \
        "не подходит $found: нужен Python 3.11 или новее" "возьмите Debian 12 или новее либо поставьте новый python3 первым в PATH"
}

lacks_venv() { ! "${python:-/usr/bin/python3}" -c 'import ensurepip, venv' 2>/dev/null; }

lacks_postgres() {
    for server in /usr/lib/postgresql/*/bin/postgres "$(PATH=${HOWDAH_POSTGRES_BINDIRS:-}:$PATH command -v postgres || true)"; do
        [ -x "$server" ] && return 1
    done
    return 0
}

lacks_pgbouncer() { [ ! -x "${HOWDAH_PGBOUNCER:-}" ] && lacks_program pgbouncer; }

lacks_program() { (PATH=$PATH:/usr/local/sbin:/usr/sbin command -v "$1") >/dev/null 2>&1 && return 1 || return 0; }

# unfinished PACKAGE...: an installation of ours was killed, or dpkg has unpacked one of them and not configured it.
unfinished() {
    [ -e /var/cache/howdah-enabled-before ] ||
        dpkg-query -W -f '${db:Status-Status}\n' "$@" postgresql-common 2>/dev/null | grep -Eq '^(unpacked|half|triggers)'
}

# install_packages PACKAGE...: as root, or through sudo; refuses with the command to run where neither is possible.
install_packages() {
    command -v apt-get >/dev/null ||
        refuse no_apt "cannot install $*: this machine has no apt-get" "install what these Debian packages hold, then try again" \
            "нельзя установить $*: здесь нет apt-get" "установите содержимое этих пакетов Debian и повторите"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root='sudo -n'
        elif ! { command -v sudo >/dev/null && [ -t 0 ] && [ -t 2 ]; }; then
            run="apt-get update && apt-get install --yes --no-install-recommends $*"
            refuse packages_missing "cannot install $*: not root, and sudo is not possible here" "as root, run: $run" \
                "нельзя установить $*: вы не root, и sudo здесь не работает" "выполните от имени root: $run"
        fi
    fi
    log=$(mktemp)
    say "installing $* with ${as_root:+sudo }apt (a minute or so) …" "устанавливаю $* с помощью ${as_root:+sudo }apt (около минуты) …"
    if ! $as_root sh -c "$(cat "$here/tools/install.sh")" install.sh "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        refuse packages_failed "cannot install $*: apt failed (its output: $log)" "mend what apt says above, then try again" \
            "не удалось установить $*: ошибка apt (его вывод: $log)" "исправьте то, что apt сообщил выше, и повторите"
    fi
    rm -f "$log"
    say "installed $*" "установлено: $*"
}

# ensure_packages WANTED...: of venv, postgresql, pgbouncer and programs that are packages of the same name.
ensure_packages() {
    missing=
    all=
    for want in "$@"; do
        case $want in
        venv) package=python3-venv check=lacks_venv ;;
        postgresql) package=postgresql check=lacks_postgres ;;
        pgbouncer) package=pgbouncer check=lacks_pgbouncer ;;
        *) package=$want check="lacks_program $want" ;;
        esac
        all="$all $package"
        ! $check || missing="$missing $package"
    done
    # shellcheck disable=SC2086 # package names are words
    if unfinished $all; then install_packages $all; elif [ -n "$missing" ]; then install_packages $missing; fi
}

venv=.venv # in $here; the scanner of ./test has another
source=    # a package that is published as source alone; pip builds it with the newest setuptools

# What it was made from: the hash of each lock file in it, and the interpreter, which an upgrade of the system replaces.
stamp_of() {
    printf '%s' "$(readlink -f "$1")"
    for lock in $locks; do printf ' %s' "$(sha256sum <"$here/$lock" | cut -c1-64)"; done
}

# The developers' lock holds the users' too, so its environment serves both.
environment_fits() {
    [ -x "$here/$venv/bin/python" ] && [ -r "$here/$venv/howdah-stamp" ] || return 1
    read -r stamp <"$here/$venv/howdah-stamp" || return 1
    case "$stamp " in "$(stamp_of "$here/$venv/bin/python") "*) return 0 ;; *) return 1 ;; esac
}

# A developers' environment is made anew as one: it must not lose its tools because a command was run after a change of the locks.
keep_tools() {
    read -r interpreter users developers 2>/dev/null <"$here/$venv/howdah-stamp" || true
    [ -z "${developers:-}" ] || locks='requirements.lock requirements-dev.lock'
}

# Made under another name and renamed when whole; the .pth file is relative, so a clone may be moved.
make_environment() {
    say "making the Python environment in $here/$venv (once, some seconds) …" "создаю окружение Python в $here/$venv (один раз, несколько секунд) …"
    new=$here/$venv-new
    log=$(mktemp)
    rm -rf "$new" "$here/$venv-old"
    if ! { "$python" -m venv "$new" &&
        "$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: ${source:+"--no-binary=$source"} \
            --retries 2 --require-hashes -r "$here/${locks##* }"; } >"$log" 2>&1; then
        rm -rf "$new"
        tail -n 5 "$log" >&2
        refuse environment_failed "cannot make $here/$venv: pip failed (its output: $log)" \
            "check that this machine can reach its Python package index, then try again" \
            "не удалось создать $here/$venv: ошибка pip (его вывод: $log)" "проверьте, что отсюда доступен индекс пакетов Python, и повторите"
    fi
    rm -f "$log"
    for site in "$new"/lib/python3*/site-packages; do echo ../../../../src >"$site/howdah.pth"; done
    grep -rlI "/$venv-new" "$new/bin" "$new/pyvenv.cfg" | while read -r script; do sed -i "s|/$venv-new|/$venv|g" "$script"; done
    stamp_of "$new/bin/python" >"$new/howdah-stamp"
    echo >>"$new/howdah-stamp"
    [ ! -e "$here/$venv" ] || mv "$here/$venv" "$here/$venv-old"
    mv "$new" "$here/$venv"
    rm -rf "$here/$venv-old"
}

# ensure_environment LOCK...: the last one is installed; it contains the others. Launches at the same time wait for each other.
ensure_environment() {
    locks=$*
    environment_fits && return
    [ -w "$here" ] ||
        refuse read_only "cannot make $here/$venv: $here is not writable for $(id -un)" "clone into a directory of your own, or run: pipx install $here" \
            "нельзя создать $here/$venv: у $(id -un) нет права записи в $here" "сделайте клон в своём каталоге или выполните: pipx install $here"
    exec 9<"$here"
    flock -n 9 || {
        say "waiting for another launch that makes $here/$venv …" "жду другой запуск, который создаёт $here/$venv …"
        flock -w 600 9 ||
            refuse environment_busy "cannot make $here/$venv: another launch has held its lock for 10 minutes" "end that launch, then try again" \
                "нельзя создать $here/$venv: другой запуск держит блокировку 10 минут" "завершите его и повторите"
    }
    environment_fits || { keep_tools; make_environment; }
    exec 9<&-
}
