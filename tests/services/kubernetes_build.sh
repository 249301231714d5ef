#!/usr/bin/env bash
# The four Kubernetes programs a node needs, built from Debian 12's source package (Apache-2.0).
#
# usage: kubernetes_build.sh BIN   -> BIN/kube-apiserver kube-controller-manager kube-scheduler kubelet
#
# Needs dpkg-dev and the package sources of a Debian 12; neither root nor an installed Go: the
# compiler's packages are unpacked beside the source. Takes 7 minutes on two cores, and some GB in
# BIN.work, which is removed at the end.
set -euo pipefail
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
bin=$(mkdir -p "$1" && cd "$1" && pwd)
work=$bin.work
rm -rf "$work" && mkdir -p "$work"/{lists/partial,cache,gopath/src/k8s.io,tmp} && cd "$work"

# -- the sources, through lists of our own: the machine's apt set-up is read and left as it is ----
keys='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
  | grep ' bookworm' | sort -u | sed -e "s|.*|deb $keys &\ndeb-src $keys &|" >sources.list
ours=(-qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
      -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${ours[@]}" update
apt-get "${ours[@]}" source --download-only kubernetes
apt-get "${ours[@]}" download golang-1.19-go golang-1.19-src
for package in golang-*.deb; do dpkg -x "$package" go; done
dpkg-source -x ./kubernetes_*.dsc gopath/src/k8s.io/kubernetes

# -- the compiler: GOPATH mode, nothing is fetched ------------------------------------------------
export GOROOT=$work/go/usr/lib/go-1.19 GOPATH=$work/gopath GOCACHE=$work/cache/go TMPDIR=$work/tmp
export GO111MODULE=off CGO_ENABLED=0 GOFLAGS= PATH=$work/go/usr/lib/go-1.19/bin:$PATH
cd gopath/src/k8s.io/kubernetes

# -- the one generated package that the source does not hold --------------------------------------
go build -o "$work/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
tagged=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg staging/src \
  | grep -v -e /code-generator/ -e /sample-apiserver/ | xargs -n1 dirname | sort -u \
  | sed -e 's|^staging/src/|k8s.io/kubernetes/vendor/|' -e 's|^pkg/|k8s.io/kubernetes/pkg/|' | paste -sd,)
"$work/openapi-gen" --logtostderr -i "$tagged" -p k8s.io/kubernetes/pkg/generated/openapi \
  -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt \
  -r "$work/violations"

# -- the programs: a client reads the version off the server, so it must be told ------------------
flags="-s -w"
for package in client-go/pkg/version component-base/version; do
  for fact in gitVersion=v1.20.2 gitMajor=1 gitMinor=20; do
    flags+=" -X k8s.io/kubernetes/vendor/k8s.io/$package.$fact"
  done
done
for program in "${programs[@]}"; do
  go build -ldflags "$flags" -o "$work/bin/$program" "k8s.io/kubernetes/cmd/$program"
done
# Moved last and together: a folder with the programs in it is whole.
for program in "${programs[@]}"; do mv "$work/bin/$program" "$bin/$program"; done
cd / && chmod -R u+w "$work" && rm -rf "$work"
