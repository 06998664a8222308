# Sourced by `up` and `test`: sets `python` to a Python that Spectrain runs on. Works with the bash 3.2 of macOS.

usable_python() {
    # An interpreter counts when it starts, is new enough and can make a virtual environment with pip in it.
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in "${SPECTRAIN_PYTHON:-}" python3 python3.13 python3.12 python3.14 python3.11 python; do
        if [ -n "$candidate" ] && usable_python "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    echo "Spectrain needs Python 3.11 or newer, and none was found." >&2
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        echo "python3 is new enough but cannot make virtual environments: install its venv package" >&2
        echo "(Debian and Ubuntu: apt-get install python3-venv), then start again." >&2
    elif [ "$(uname -s)" = Darwin ]; then
        echo "Install it from https://www.python.org/downloads/ or with: brew install python" >&2
    else
        echo "Install it (Debian and Ubuntu: apt-get install python3 python3-venv), then start again." >&2
    fi
    echo "To name another one: SPECTRAIN_PYTHON=/path/to/python3 $0" >&2
    return 1
}
