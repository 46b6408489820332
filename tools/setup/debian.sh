# SPDX-License-Identifier: Apache-2.0
# Debian packages for private use: downloaded and unpacked, never installed, so none of this needs
# root. Sourced by the set-up scripts.

say() { echo "weft set-up: $*" >&2; }
die() { say "error: $*"; exit 1; }

# The address of the Debian registry, as this machine's own apt configuration names it.
# WEFT_DEBIAN_MIRROR names another one.
debian_registry() {
  local uris
  if [[ -n ${WEFT_DEBIAN_MIRROR:-} ]]; then echo "$WEFT_DEBIAN_MIRROR"; return; fi
  command -v apt-get >/dev/null || die "no apt-get here: this set-up is for Debian machines"
  # shellcheck disable=SC2016  # a format of apt's
  uris=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages') || die "apt-get indextargets failed"
  grep -Em1 '/debian/?$' <<<"$uris" || die "no Debian registry in this machine's apt sources"
}

# private_apt FOLDER SUITE [PROVIDED_PACKAGE]...
# Sets APT to the options of an apt with lists, cache and package status of its own, for one suite
# ("a+b": two). Its status names the provided packages as installed, so that the resolver leaves out
# what the host has or what is never used.
private_apt() {
  local home=$1 suites=$2 package suite uri
  shift 2
  uri=$(debian_registry) || exit 1
  mkdir -p "$home"/{lists,cache/archives}/partial
  for package in "$@"; do
    # The epoch keeps apt from "upgrading" them.
    printf 'Package: %s\nStatus: install ok installed\nMaintainer: none\nArchitecture: %s\n' \
      "$package" "$(dpkg --print-architecture)"
    printf 'Multi-Arch: allowed\nVersion: 99:99\nDescription: provided by the host\n\n'
  done > "$home/status"
  for suite in ${suites//+/ }; do
    printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
      deb "$uri" "$suite" deb-src "$uri" "$suite"
  done > "$home/src.list"
  APT=(-q -oDir::State="$home" -oDir::State::Lists="$home/lists" -oDir::State::status="$home/status"
       -oDir::Cache="$home/cache" -oDir::Etc::SourceList="$home/src.list" -oDir::Etc::SourceParts=/dev/null
       -oDir::Etc::Preferences=/dev/null -oDir::Etc::PreferencesParts=/dev/null
       -oAPT::Install-Recommends=false -oAPT::Sandbox::User=root -oAcquire::Languages=none
       -oAcquire::Retries=3
       -oAcquire::Check-Valid-Until=false)  # a mirror may be a frozen one; signatures are still checked
  if ! ls "$home"/lists/*Packages* >/dev/null 2>&1; then
    apt-get "${APT[@]}" update >"$home/update.log" 2>&1 ||
      say "suite $suites: $(grep -m1 '^E:' "$home/update.log" || tail -n1 "$home/update.log")"
  fi
}

# fetch_package FOLDER SUITES source|binary PACKAGE: from the first of the suites that really has it.
# Prints the file and its suite.
fetch_package() {
  local folder=$1 suites=$2 kind=$3 package=$4 suite file how=(download)
  [[ $kind == binary ]] || how=(source --download-only --tar-only)
  for suite in $suites; do
    private_apt "$folder/$suite" "$suite"
    rm -rf "${folder:?}/$suite/$package"
    mkdir -p "$folder/$suite/$package"
    (cd "$folder/$suite/$package" && apt-get "${APT[@]}" "${how[@]}" "$package") >"$folder/$suite/fetch.log" 2>&1 || true
    for file in "$folder/$suite/$package"/{*.orig.tar.*,*.deb}; do
      case $file in *.asc) continue ;; esac
      if [[ -f $file ]]; then echo "$file $suite"; return 0; fi
    done
    say "$package: not to be had from $suite"
  done
  return 1
}

# host_tools COMMAND=PACKAGE...: makes sure that the commands are there; the only step that may need root.
host_tools() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}"); done
  [[ ${#missing[@]} != 0 ]] || return 0
  [[ $(id -u) == 0 ]] || die "please install: ${missing[*]}   (apt-get install ${missing[*]})"
  say "installing ${missing[*]} with apt-get"
  { apt-get -q update && apt-get -qy install --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 ||
    die "apt-get install ${missing[*]} failed"
}

# private_patchelf FOLDER: puts patchelf on PATH, from a package that is unpacked there.
private_patchelf() {
  local folder=$1 file
  if command -v patchelf >/dev/null; then return; fi
  if [[ ! -x $folder/usr/bin/patchelf ]]; then
    # shellcheck disable=SC1091
    file=$(fetch_package "$folder/apt" "$(. /etc/os-release; echo "${VERSION_CODENAME:-bookworm}") bookworm" binary patchelf) ||
      die "patchelf is not to be had; please install it"
    dpkg -x "${file% *}" "$folder"
    rm -rf "$folder/apt"
  fi
  PATH=$folder/usr/bin:$PATH
}
