#!/usr/bin/env bash
# Builds the zips that infra/template.yaml deploys: target/lambda/NAME/bootstrap.zip, one per function,
# each with the binary as `bootstrap` and the funnel's directory as `funnel/`.
#
#   infra/build.sh [x86_64|arm64] [FUNNEL]      default: x86_64 funnels/coaching
#
# Needs Rust and python3; for the other processor also its standard library, once:
# `rustup target add aarch64-unknown-linux-gnu`. cargo-lambda and zig come from PyPI into .cache/venv:
# a plain `cargo build` links against this machine's glibc, which is often newer than the 2.34 of
# Amazon Linux 2023, and cannot link for the other processor.
set -euo pipefail
cd "$(dirname "$0")/.."

arch=${1:-x86_64}
funnel=${2:-funnels/coaching}
case $arch in
  x86_64) target=x86_64-unknown-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu ;;
  *) echo "unknown architecture $arch: x86_64 or arm64" >&2; exit 2 ;;
esac
[ -f "$funnel/funnel.toml" ] || { echo "no funnel in $funnel: funnel.toml is missing" >&2; exit 2; }

# A broken funnel never deploys. The functions trust this: they lay a mail out when it is first sent.
cargo run --locked --quiet --package michi -- check "$funnel"

venv=.cache/venv
tools="cargo-lambda==1.9.2 ziglang==0.17.1"
if [ "$(cat $venv/tools 2>/dev/null)" != "$tools" ]; then
  python3 -m venv --clear $venv
  # shellcheck disable=SC2086  # two words on purpose
  $venv/bin/pip install --quiet --disable-pip-version-check $tools
  echo "$tools" > $venv/tools
fi

functions=$(cd functions && echo *)
# The profile in Cargo.toml is the only one: cargo-lambda's own would abort on a panic, unreported.
# Without its target check it leaves the toolchain alone, where it would add a missing target.
# shellcheck disable=SC2086  # one word per package on purpose
PATH="$PWD/$venv/bin:$PATH" cargo lambda build --release --locked --disable-optimizations --skip-target-check \
  --target $target.2.34 $(printf -- '--package %s ' $functions)

# Same input, same zip: a function whose code did not change is not deployed again.
# shellcheck disable=SC2086
python3 - "$funnel" $functions <<'PY'
import pathlib, sys, zipfile

funnel = pathlib.Path(sys.argv[1])
texts = sorted(f for f in funnel.rglob("*") if f.is_file() and not f.name.startswith("."))
for name in sys.argv[2:]:
    folder = pathlib.Path("target/lambda", name)
    with zipfile.ZipFile(folder / "bootstrap.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        def add(path, name, mode):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100000 | mode) << 16
            out.writestr(entry, path.read_bytes())
        add(folder / "bootstrap", "bootstrap", 0o755)
        for text in texts:
            add(text, f"funnel/{text.relative_to(funnel).as_posix()}", 0o644)
    print(f"{(folder / 'bootstrap.zip').stat().st_size / 1e6:5.2f} MB  {folder / 'bootstrap.zip'}")
PY
echo "Deploy with Architecture=$arch."
