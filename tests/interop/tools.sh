# shellcheck shell=bash
# The programs of others that the scenarios run, each at one version. Sourced by `run`.

OPA_VERSION=1.22.2
# The oldest that sidecars run; what is published activates there too.
OPA_OLDEST_VERSION=1.18.2
# What the newer OPA asks for. An older Go (from 1.21) fetches it by itself, unless GOTOOLCHAIN=local forbids it.
GO_VERSION=1.26
# The A2A SDKs, by their requirements.txt and package-lock.json.
A2A_PYTHON_VERSION=1.3.0
A2A_JS_VERSION=1.3.0
TOOLS=${SECPLANE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/secplane-tools}

say() { echo "interop: $*"; }

die() {
    echo "interop: $*" >&2
    exit 1
}

# need PROGRAM REMEDY
need() { command -v "$1" >/dev/null || die "$1 is not installed. $2"; }

need_go() {
    need go "Install Go $GO_VERSION or newer: https://go.dev/doc/install"
    local have oldest=$GO_VERSION
    have=$(go env GOVERSION)
    [[ $(go env GOTOOLCHAIN) == local ]] || oldest=1.21
    [[ $(printf '%s\n' "$oldest" "${have#go}" | sort -V | head -n 1) == "$oldest" ]] ||
        die "Go is $have with GOTOOLCHAIN=$(go env GOTOOLCHAIN). Install Go $GO_VERSION or newer:" \
            "https://go.dev/doc/install"
}

install_opa() {
    install_opa_version "$OPA_VERSION"
    PATH=$TOOLS/opa-$OPA_VERSION:$PATH
    install_opa_version "$OPA_OLDEST_VERSION"
    export OPA_OLDEST=$TOOLS/opa-$OPA_OLDEST_VERSION/opa
}

install_opa_version() {
    local folder=$TOOLS/opa-$1
    if [[ ! -x $folder/opa ]]; then
        say "installing opa $1 in $folder (minutes, but only once)"
        mkdir -p -- "$TOOLS"
        local staging
        staging=$(mktemp -d "$TOOLS/.opa-XXXXXX")
        if ! CGO_ENABLED=0 GOBIN=$staging go install "github.com/open-policy-agent/opa@v$1"; then
            rm -rf -- "$staging"
            die "opa $1 cannot be installed; Go's words are above. It needs Go $GO_VERSION or newer," \
                "here is $(go version 2>&1), and the Go module proxy"
        fi
        # Whole or not at all; another run may have been faster.
        mv -T -- "$staging" "$folder" || rm -rf -- "$staging"
    fi
    [[ $("$folder/opa" version) == "Version: $1"* ]] || die "$folder/opa is not opa $1; remove the folder"
}

# kube-apiserver, kubectl and etcd.
install_kubernetes() {
    build_kubernetes "$INTEROP/kubernetes"
    # Only for the scenarios that need them: the machine may have a kubectl of its own.
    export KUBERNETES=$KUBERNETES_BUILT
}

# The kube-apiserver of the minor version before.
install_older_kubernetes() {
    build_kubernetes "$INTEROP/kubernetes/older"
    export KUBERNETES_OLDER=$KUBERNETES_BUILT
}

# build_kubernetes MODULE: the tools of a module beside this file, which pins every source; sets KUBERNETES_BUILT to
# their folder.
build_kubernetes() {
    local module=$1 version pinned
    version=$(sed -nE 's|^\tk8s.io/kubernetes v([0-9.]+).*|\1|p' "$module/go.mod")
    pinned=$(cat -- "$module/go.mod" "$module/go.sum" | openssl dgst -sha256 -r | cut -c 1-12)
    local folder=$TOOLS/kubernetes-$version-$pinned
    if [[ ! -x $folder/kube-apiserver ]]; then
        say "building the tools of Kubernetes $version in $folder (minutes, but only once)"
        mkdir -p -- "$TOOLS"
        local staging
        staging=$(mktemp -d "$TOOLS/.kubernetes-XXXXXX")
        if ! (cd -- "$module" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags='-s -w' -o "$staging/" tool); then
            rm -rf -- "$staging"
            die "Kubernetes $version cannot be built; Go's words are above"
        fi
        # Its folder in the module gives etcd another name.
        if [[ -e $staging/server ]]; then mv -- "$staging/server" "$staging/etcd"; fi
        # Whole or not at all; another run may have been faster.
        mv -T -- "$staging" "$folder" || rm -rf -- "$staging"
    fi
    KUBERNETES_BUILT=$folder
}

# The workload on the official SPIFFE library: compiled anew from the sources beside this file, which Go's own
# cache makes quick. build_workload FOLDER
build_workload() {
    say "building the go-spiffe workload"
    (cd -- "$INTEROP/go" && CGO_ENABLED=0 go build -mod=readonly -o "$1/workload" .) ||
        die "the go-spiffe workload cannot be built; Go's words are above"
    export WORKLOAD=$1/workload
}

# OPA's own compilers, which answer about many sets of modules in one process: of each version that policies are
# checked for, as opaoracle-VERSION. build_oracles FOLDER
build_oracles() {
    say "building the oracles on OPA's compilers"
    export ORACLES=$1
    export OLDEST=${OPA_OLDEST_VERSION%.*} NEWEST=${OPA_VERSION%.*}
    local build=(env CGO_ENABLED=0 go -C "$INTEROP/go" build -mod=readonly) file
    "${build[@]}" -o "$1/" ./opacorpus ./capabilities ||
        die "opacorpus and capabilities cannot be built; Go's words are above"
    "${build[@]}" -o "$1/opaoracle-$NEWEST" ./opaoracle || die "the oracle cannot be built; Go's words are above"
    for file in "$INTEROP"/go/opaoracle/versions/*.mod; do
        "${build[@]}" -modfile="$file" -o "$1/opaoracle-$(basename -- "$file" .mod)" ./opaoracle ||
            die "the oracle of $file cannot be built; Go's words are above"
    done
}

# A PKCS#11 token in files, and a program that looks into tokens. From the distribution, as they are small and have no
# release of their own to pin; SOFTHSM_MODULE is the library.
install_softhsm() {
    if ! command -v softhsm2-util >/dev/null || ! command -v pkcs11-tool >/dev/null; then
        say "installing softhsm2 and opensc"
        local root=()
        ((EUID == 0)) || root=(sudo)
        "${root[@]}" apt-get install --yes --no-install-recommends softhsm2 opensc >/dev/null ||
            die "softhsm2 and opensc cannot be installed; apt-get's words are above"
    fi
    SOFTHSM_MODULE=$(compgen -G '/usr/lib/softhsm/libsofthsm2.so' || compgen -G '/usr/lib/*/softhsm/libsofthsm2.so') ||
        die "libsofthsm2.so is not where Debian puts it"
    export SOFTHSM_MODULE
}

# The A2A SDK for Python with everything that it needs, at the versions of requirements.txt; A2A_PYTHON runs it.
install_a2a_python() {
    need python3 "Install Python 3.10 or newer, for example with: apt-get install python3 python3-venv"
    local folder=$TOOLS/a2a-python-$A2A_PYTHON_VERSION
    if [[ ! -x $folder/bin/python ]]; then
        say "installing the A2A SDK $A2A_PYTHON_VERSION for Python in $folder"
        rm -rf -- "$folder.part"
        # Its python finds the packages beside itself, so it can be moved into place once it is whole.
        if ! { python3 -m venv --without-pip "$folder.part" &&
            python3 -m pip --disable-pip-version-check --python "$folder.part/bin/python" install --quiet \
                --no-deps --requirement "$INTEROP/a2a/requirements.txt"; }; then
            rm -rf -- "$folder.part"
            die "the A2A SDK for Python cannot be installed; pip's words are above. It needs python3-venv," \
                "python3-pip and the package index"
        fi
        mv -T -- "$folder.part" "$folder" 2>/dev/null || rm -rf -- "$folder.part"
    fi
    A2A_PYTHON=$folder/bin/python
    [[ $("$A2A_PYTHON" -c 'import importlib.metadata as m; print(m.version("a2a-sdk"))') == "$A2A_PYTHON_VERSION" ]] ||
        die "$folder is not the A2A SDK $A2A_PYTHON_VERSION; remove the folder"
    export A2A_PYTHON
}

# The A2A SDK for JavaScript at the versions of package-lock.json; A2A_JS is where it lies.
install_a2a_js() {
    need node "Install Node.js 20 or newer: https://nodejs.org"
    need npm "Install npm: https://nodejs.org"
    local folder=$TOOLS/a2a-js-$A2A_JS_VERSION
    if [[ ! -d $folder/node_modules/@a2a-js/sdk ]]; then
        say "installing the A2A SDK $A2A_JS_VERSION for JavaScript in $folder"
        mkdir -p -- "$TOOLS"
        local staging
        staging=$(mktemp -d "$TOOLS/.a2a-js-XXXXXX")
        cp -- "$INTEROP"/a2a/package.json "$INTEROP"/a2a/package-lock.json "$staging"
        if ! (cd -- "$staging" && npm ci --no-fund --no-audit --ignore-scripts --silent); then
            rm -rf -- "$staging"
            die "the A2A SDK for JavaScript cannot be installed; npm's words are above. It needs the npm registry"
        fi
        mv -T -- "$staging" "$folder" || rm -rf -- "$staging"
    fi
    A2A_JS=$folder
    [[ $(node -p "require('$folder/node_modules/@a2a-js/sdk/package.json').version") == "$A2A_JS_VERSION" ]] ||
        die "$folder is not the A2A SDK $A2A_JS_VERSION; remove the folder"
    export A2A_JS
}
