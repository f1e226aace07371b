# Sourced by demo and test: makes .venv where it is absent and installs the project into it.
# usage: set_up WHAT   (WHAT is what pip installs, such as ".[dev]")
set_up() {
  local what=$1 python=${PYTHON:-python3} stamp=.venv/.installed wanted
  wanted="$what $(sha256sum pyproject.toml)"
  # The dev install holds everything that the plain one does.
  if [ -f "$stamp" ] && { grep -qxF "$wanted" "$stamp" || grep -qxF "${wanted/#. /.[dev] }" "$stamp"; }
  then
    return
  fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3 names one." >&2
    exit 2
  }
  [ -x .venv/bin/pip ] || "$python" -m venv --clear .venv || {
    echo "No virtual environment could be made (on Debian and Ubuntu: apt install python3-venv)." >&2
    exit 2
  }
  echo "Installing into .venv (PyTorch is large: this takes a minute or more the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$what"
  echo "$wanted" > "$stamp"
}
