package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A scene is a server with containers and people around it.
type scene struct {
	*engine
	friend, stranger *outsider
}

func (e *engine) scene() *scene {
	e.Helper()
	if e.s.Address6 == "" {
		e.Fatalf("the testbed %s has no IPv6: make it anew where the kernel has it", e.bed.Name)
	}
	sc := &scene{engine: e, friend: newOutsider(e.T, e.bed, e.s), stranger: newOutsider(e.T, e.bed, e.s)}
	toOutside(e.T, e.s)
	e.s.SSH(e, "cat > /srv/namer.pl <<'END'\n"+namer+"END\ncat > /srv/ask.pl <<'END'\n"+asker+"END\n")
	return sc
}

// namer is a program that says its name and its port to whoever asks, on TCP
// and UDP, and goes on for as long as it is asked. It takes what perl-base has.
const namer = `use Socket;
my ($name, @ports) = @ARGV;
$SIG{CHLD} = 'IGNORE';
for my $port (@ports) {
  fork and next;
  my ($t, $u);
  if (socket($t, AF_INET6, SOCK_STREAM, 0) && setsockopt($t, SOL_SOCKET, SO_REUSEADDR, 1) && bind($t, pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, "::")))) {
    socket($u, AF_INET6, SOCK_DGRAM, 0) && bind($u, pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, "::"))) or die "udp6: $!";
  } else {
    socket($t, AF_INET, SOCK_STREAM, 0) && setsockopt($t, SOL_SOCKET, SO_REUSEADDR, 1) && bind($t, pack_sockaddr_in($port, INADDR_ANY)) or die "tcp: $!";
    socket($u, AF_INET, SOCK_DGRAM, 0) && bind($u, pack_sockaddr_in($port, INADDR_ANY)) or die "udp: $!";
  }
  if (!fork) { while (my $from = recv($u, my $m, 100, 0)) { send($u, "$name $port\n", 0, $from) } exit }
  listen($t, 100) or die;
  while (accept(my $c, $t)) {
    if (!fork) { while (sysread($c, my $m, 100)) { syswrite($c, "$name $port\n") } exit }
    close $c;
  }
  exit;
}
sleep 100000;
`

// asker is a program that asks who is at an address: "ask ADDRESS PORT SECONDS".
const asker = `use Socket;
my ($address, $port, $bound) = @ARGV;
$SIG{ALRM} = sub { exit 1 }; alarm $bound;
my $six = $address =~ /:/;
socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_STREAM, 0) or die;
connect($s, $six ? pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, $address)) : pack_sockaddr_in($port, inet_aton($address))) or exit 1;
syswrite($s, "who\n");
sysread($s, my $name, 100) or exit 1;
print $name;
`

// containerFunction starts a container of nothing but the server's own programs
// that says its name on the ports: "container NAME 'DOCKER OPTIONS' PORT…".
const containerFunction = `
container() {
  name=$1 options=$2; shift 2
  docker image inspect nothing >/dev/null 2>&1 || tar -c --files-from /dev/null | docker import - nothing >/dev/null
  docker run -d --name $name --restart unless-stopped $options -v /srv:/srv:ro -v /bin:/bin:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /usr:/usr:ro \
    --entrypoint /usr/bin/perl nothing /srv/namer.pl $name "$@" >/dev/null
}
`

// A place is where a container is: its network namespace, as the server's
// process id, and its addresses in Docker's default network.
type place struct{ pid, address, address6 string }

// places waits until containers run, and finds them. Docker starts them with
// its own start, and then they have other addresses.
func (sc *scene) places(names ...string) map[string]place {
	sc.Helper()
	out := map[string]place{}
	eventually(sc, time.Minute, "running: "+strings.Join(names, ", "), func() bool {
		text := sc.s.SSH(sc, "docker inspect --format '{{.Name}},{{.State.Pid}},{{with .NetworkSettings.Networks.bridge}}{{.IPAddress}},{{.GlobalIPv6Address}}{{end}}' "+strings.Join(names, " "))
		for line := range strings.Lines(text) {
			if f := strings.Split(strings.TrimSpace(line), ","); len(f) == 4 && f[1] != "0" && f[2] != "" {
				out[strings.TrimPrefix(f[0], "/")] = place{f[1], f[2], f[3]}
			}
		}
		return len(out) == len(names)
	})
	return out
}

// A question is asked on the server itself, or in the network namespace of a
// container there; pid is "" on the server.
type question struct {
	pid, address string
	port         int
	seconds      int
}

// askInside asks all of them at once; "" is no answer.
func (sc *scene) askInside(questions []question) []string {
	sc.Helper()
	var script strings.Builder
	for i, q := range questions {
		enter := ""
		if q.pid != "" {
			enter = "nsenter --target " + q.pid + " --net "
		}
		fmt.Fprintf(&script, "{ a=$(%sperl /srv/ask.pl %s %d %d) || :; echo \"%d $a\"; } &\n", enter, q.address, q.port, q.seconds, i)
	}
	answers := make([]string, len(questions))
	for line := range strings.Lines(sc.s.SSH(sc, script.String()+"wait")) {
		n, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
		for i := range questions {
			if n == fmt.Sprint(i) {
				answers[i] = answer
			}
		}
	}
	return answers
}

// wantClosed wants no answer from a port at any of the addresses.
func (sc *scene) wantClosed(o *outsider, port int, addresses ...string) {
	sc.Helper()
	for _, address := range slices.Compact(addresses) {
		if got := o.ask("tcp", address, port, time.Second); got != "" {
			sc.Errorf("port %d of %s is open: %q", port, address, got)
		}
	}
}
