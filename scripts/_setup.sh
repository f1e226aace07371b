# Sourced by demo and test: makes .venv where it is absent and installs the project into it.
# usage: set_up WHAT   (WHAT is what pip installs, such as ".[dev]"; sets $programs, their folder)
set_up() {
  local what=$1 python=${PYTHON:-python3} stamp=.venv/.installed wanted
  wanted="$what $(cksum < pyproject.toml)"
  programs=$PWD/.venv/bin
  case "${OSTYPE:-}" in msys* | cygwin*) programs=$PWD/.venv/Scripts python=${PYTHON:-python} ;; esac
  # The dev install holds everything that the plain one does.
  if [ -f "$stamp" ] && { grep -qxF "$wanted" "$stamp" || grep -qxF "${wanted/#. /.[dev] }" "$stamp"; }
  then
    return
  fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3 names one." >&2
    exit 2
  }
  "$programs/python" -m pip --version > /dev/null 2>&1 || "$python" -m venv --clear .venv || {
    echo "No virtual environment could be made (on Debian and Ubuntu: apt install python3-venv)." >&2
    exit 2
  }
  echo "Installing into .venv (PyTorch is large: this takes some minutes the first time)"
  if [ "$(uname)" = Linux ] && [ -z "${PIP_EXTRA_INDEX_URL:-}" ]; then
    echo "About 3 GB are downloaded, most of it CUDA, which PyTorch uses on NVIDIA GPUs. A tenth of it will"
    echo "do without a GPU: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu $0"
  fi
  "$programs/python" -m pip install --disable-pip-version-check --editable "$what"
  echo "$wanted" > "$stamp"
}
