package proxy

import (
	"fmt"
	"path"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// certificatePrelude defines shell functions that install a certificate in the
// directory $certdir. kamal-proxy reads it at a deploy and when it starts; if it
// can't then, it starts without any service. So a pair that was not deployed
// is taken back; one that a killed run left behind has a file *.old beside it,
// which the next run keeps as the last good one.
//
//	givecertificate       writes $certificate and $private_key; the pair that was there is kept aside.
//	takecertificateback   puts the old pair back.
//	keepcertificate       drops the old pair.
//
// The key is for the user that kamal-proxy runs as, and nobody else. Who isn't
// root can't give a file away, but docker can.
const certificatePrelude = `
givecertificate() {
  putdir "$certdir" || return
  mount=$(docker container inspect --format '{{range .Mounts}}{{if eq .Destination "` + kamal.ProxyAppsConfigMount + `"}}{{.Source}}{{end}}{{end}}' ` + Container + `) || return
  [ "$mount" -ef ` + kamal.ProxyAppsConfigDir + ` ] || { echo "kamal-proxy mounts $mount, not ~/` + kamal.ProxyAppsConfigDir + ` of the SSH user: it was booted by another user, log in as that one" >&2; return 1; }
  chmod 755 "$certdir" "${certdir%/*}" "${certdir%/*/*}" && rm -f "$certdir/cert.pem.new" "$certdir/key.pem.new" || return
  pid=$(docker container inspect --format '{{.State.Pid}}' ` + Container + `) || return
  uid=$(sed -n 's/^Uid:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status") && gid=$(sed -n 's/^Gid:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status") && [ -n "$uid" ] || return
  printf '%s' "$certificate" > "$certdir/cert.pem.new" && chmod 644 "$certdir/cert.pem.new" && mine "$certdir/cert.pem.new" || return
  (umask 077; printf '%s' "$private_key" > "$certdir/key.pem.new") && chmod 400 "$certdir/key.pem.new" || return
  case $(id -u) in
  0) chown "$uid:$gid" "$certdir/key.pem.new" || return;;
  "$uid") ;;
  *) (set -e; cd "$certdir"; tar --numeric-owner --owner="$uid" --group="$gid" -cf - key.pem.new) | docker cp - "` + Container + `:$certinside" || return;;
  esac
  moved=1
  for f in cert.pem key.pem; do
    [ ! -e "$certdir/$f" ] || [ -e "$certdir/$f.old" ] || mv -f "$certdir/$f" "$certdir/$f.old" || return
    mv -f "$certdir/$f.new" "$certdir/$f" || return
  done
}
takecertificateback() {
  for f in cert.pem key.pem; do
    rm -f "$certdir/$f.new"
    [ -n "${moved:-}" ] || continue
    if [ -e "$certdir/$f.old" ]; then mv -f "$certdir/$f.old" "$certdir/$f"; else rm -f "$certdir/$f"; fi
  done
}
keepcertificate() { rm -f "$certdir/cert.pem.old" "$certdir/key.pem.old"; }
`

// certificate adds the installation of a certificate to the step.
func (s *routeStep) certificate(dir string, tls *TLS, snap *fleet.Snapshot) error {
	if !mountsAppsConfig(snap) {
		return &refusal{
			cause: "kamal-proxy's container does not mount " + kamal.ProxyAppsConfigMount + ", so it can't read a certificate",
			next:  "let kamal_proxy boot it anew (as Kamal 2.8 and newer do): remove the container and apply.",
		}
	}
	s.vars = append(s.vars,
		sshexec.Var{Name: "certificate", Value: tls.Certificate},
		sshexec.Var{Name: "private_key", Value: tls.PrivateKey, Secret: true})
	s.lines = append(s.lines,
		fmt.Sprintf("certdir=%s certinside=%s", sshexec.Quote(dir), sshexec.Quote(containerPath(dir))),
		"givecertificate || { r=$?; takecertificateback; exit $r; }")
	return nil
}

func mountsAppsConfig(snap *fleet.Snapshot) bool {
	for _, m := range snap.Proxy.Container.Mounts {
		if m.Destination == kamal.ProxyAppsConfigMount {
			return true
		}
	}
	return false
}

// certificateDirOf is where an entry's own certificate is, if no other service uses it too.
func certificateDirOf(e *Entry, entries []Entry) string {
	dir := entryCertificateDir(e)
	for i := range entries {
		if entries[i].Name != e.Name && entryCertificateDir(&entries[i]) == dir {
			return ""
		}
	}
	return dir
}

// removeCertificate is the command that removes a certificate and the
// directories that are empty without it; it is fine if there is none.
func removeCertificate(dir string) string {
	var files []string
	for _, f := range []string{"cert.pem", "key.pem", "cert.pem.old", "key.pem.old"} {
		files = append(files, dir+"/"+f)
	}
	tls := path.Dir(dir)
	return sshexec.Join(append([]string{"rm", "-f"}, files...)...) + " && { " +
		sshexec.Join("rmdir", dir, tls, path.Dir(tls)) + " 2>/dev/null || :; }"
}
